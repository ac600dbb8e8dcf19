"""Distributed data parallel: one copy per worker, gradients averaged over workers."""

import contextlib
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from itrec_dist.engines.engine import EngineConfig, Update
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.engines.single import Updater, autocast, load_whole_weights, whole_weights
from itrec_dist.optim import OptimizerConfig
from itrec_dist.schema import Batch
from itrec_dist.tasks import TaskOutput


class DDPEngine:
    """A task wrapped in torch's DistributedDataParallel over the default process group.

    The mean over workers that DDP takes is the mean over the global batch, because each worker
    divides its sum by the batch's `denominator`.
    """

    name = "ddp"

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.device = device
        self.task = task.to(device)
        self._precision = engine.precision
        # The buffers are tables of the data, the same everywhere: not to be sent at each step.
        self._wrapped = DistributedDataParallel(
            self.task, gradient_as_bucket_view=True, broadcast_buffers=False
        )
        self._forward = torch.compile(self._wrapped) if engine.compile else self._wrapped
        self._updater = Updater(self.task, engine, optimizer, total_steps, device)

    def __call__(self, batch: Batch) -> TaskOutput:
        """Run the task; outside training without the wrapper, so no worker waits for another."""
        with autocast(self.device, self._precision), self._unsynchronised():
            output: TaskOutput = self._forward(batch) if self.task.training else self.task(batch)
        return output

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients; workers meet at the last one of a batch."""
        with self._unsynchronised():
            self._updater.backward(loss)

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""
        return self._updater.step()

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        self._wrapped.train(mode)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the task's model."""
        return whole_weights(self.task) if dist.get_rank() == 0 else {}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights of the task's model, every one of them."""
        load_whole_weights(self.task, weights)

    def state(self) -> OptimizerState | None:
        """A copy of optimiser, schedule and scaler, which are the same on all workers."""
        return self._updater.state() if dist.get_rank() == 0 else None

    def load_state(self, state: OptimizerState) -> None:
        """Take up what `state` gave, here or on another number of workers."""
        self._updater.load_state(state)

    def _unsynchronised(self) -> contextlib.AbstractContextManager[None]:
        if self._updater.completes_batch:
            return contextlib.nullcontext()
        return self._wrapped.no_sync()
