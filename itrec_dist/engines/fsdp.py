"""Fully sharded data parallel: weights, gradients and optimiser state are sharded over the workers.

Torch's FSDP2 (`fully_shard`) splits each weight along its first dimension; the optimiser and the
clipping work on shards as on full tensors.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from itrec_dist.engines import process_group
from itrec_dist.engines.engine import EngineConfig, Update, refuse_sharded_items
from itrec_dist.engines.optimizer_state import OptimizerState, full, sharded_like
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.torch_engine import TorchEngine
from itrec_dist.engines.weights import full_weights, model_of
from itrec_dist.errors import ConfigError


class FSDPEngine(TorchEngine):
    """A task whose repeated blocks are each a unit of FSDP2, as is the rest of it.

    Gradients are reduced and sharded after every micro-batch, also while accumulating: this costs
    one exchange per micro-batch, and no worker ever holds the full gradient.
    """

    name = "fsdp"

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        process_group.ensure(device)
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        lists = [module for module in task.modules() if isinstance(module, nn.ModuleList)]
        task.to(device)
        for module in (*(block for blocks in lists for block in blocks), task):
            fully_shard(module, mesh=mesh)
        super().__init__(task, engine, optimizer, total_steps, device)

    @staticmethod
    def check_settings(engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int) -> None:
        """Refuse compilation, which is untested with FSDP here, and sharded rows."""
        del optimizer, num_workers
        refuse_sharded_items(engine, "fsdp")
        if engine.compile != "none":
            raise ConfigError(
                f"engine.compile={engine.compile} does not work with engine.name=fsdp: set "
                "engine.compile=none, or engine.name to single or ddp"
            )

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""
        update = super().step()
        norm = update.grad_norm
        return update if norm is None else replace(update, grad_norm=full(norm))

    def weights(self) -> dict[str, torch.Tensor]:
        """The full weights of the task's model, on worker 0; gathered one by one."""
        return full_weights(self.task, is_kept=dist.get_rank() == 0)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load this worker's shard of every weight of the task's model."""
        own = model_of(self.task).state_dict()
        super().load_weights(
            {name: sharded_like(value, own[name]) if name in own else value
             for name, value in weights.items()}
        )  # fmt: skip

    def state(self) -> OptimizerState | None:
        """A copy of optimiser, schedule and scaler, on worker 0."""
        state = self._updater.state(is_kept=dist.get_rank() == 0)
        return state if dist.get_rank() == 0 else None
