"""Distributed data parallel: one copy per worker, gradients averaged over workers."""

import contextlib
import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from itrec_dist.data.schema import Batch
from itrec_dist.engines import process_group
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.precision import autocast
from itrec_dist.engines.torch_engine import TorchEngine, compiled
from itrec_dist.errors import ConfigError
from itrec_dist.models.output import Output

# Torch 2.13 renamed the option and warns about the old name.
_BUFFER_OPTION = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


class DDPEngine(TorchEngine):
    """A task wrapped in torch's DistributedDataParallel over the default process group.

    The mean over workers that DDP takes is the mean over the global batch, because each worker
    divides its sum by the batch's `denominator`.
    """

    name = "ddp"

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        process_group.ensure(device)
        super().__init__(task, engine, optimizer, total_steps, device)
        # Every worker's rows of sharded item vectors are its own.
        own = [name for name, _ in self.task.named_buffers() if self._is_of_rows(name)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.task, own)
        # The buffers are tables of the data, equal on all workers: no need to broadcast them.
        no_broadcast: dict[str, Any] = {_BUFFER_OPTION: False}
        self._wrapped = DistributedDataParallel(
            self.task, gradient_as_bucket_view=True, **no_broadcast
        )
        self._forward = compiled(self._wrapped, engine.compile)

    @staticmethod
    def check_settings(engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int) -> None:
        """Refuse CUDA graphs: DDP exchanges gradients from hooks, outside any graph."""
        del optimizer, num_workers
        if engine.compile == "cuda_graphs":
            raise ConfigError(
                "engine.compile=cuda_graphs works only with engine.name=single, not with ddp: "
                "set engine.compile to default or none"
            )

    def __call__(self, batch: Batch) -> Output:
        """Run the task; in evaluation without the wrapper, so that no worker waits for another."""
        with autocast(self.device, self._precision), self._unsynchronised():
            output: Output = self._forward(batch) if self.task.training else self.task(batch)
        return output

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients; workers synchronise at the last one of a batch."""
        with self._unsynchronised():
            self._updater.backward(loss)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the task's model, on the first worker."""
        return super().weights() if dist.get_rank() == 0 else {}

    def state(self) -> OptimizerState | None:
        """A copy of optimiser, schedule and scaler, which are the same on all workers."""
        return super().state() if dist.get_rank() == 0 else None

    def _is_of_rows(self, name: str) -> bool:
        owner = self.task.get_submodule(name.rpartition(".")[0])
        return self.rows is not None and owner is self.rows.items

    def _unsynchronised(self) -> contextlib.AbstractContextManager[None]:
        if self._updater.completes_batch:
            return contextlib.nullcontext()
        return self._wrapped.no_sync()
