"""The base of the engines that leave both forward and update to torch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.engines.engine import Compilation, EngineConfig, Update
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.precision import autocast
from itrec_dist.engines.update_step import Updater
from itrec_dist.engines.weights import full_weights, load_full_weights
from itrec_dist.models.output import Output

_MODES = {"default": None, "cuda_graphs": "reduce-overhead"}


class TorchEngine:
    """A task on a device and its updater; complete for one worker, the base for several."""

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.device = device
        self.task = task.to(device)
        self._precision = engine.precision
        self._forward = compiled(self.task, engine.compile)
        self._updater = Updater(self.task, engine, optimizer, total_steps, device)
        self.rows = self._updater.rows

    def __call__(self, batch: Batch) -> Output:
        """Run the task in the chosen precision."""
        with autocast(self.device, self._precision):
            output: Output = self._forward(batch)
        return output

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients."""
        self._updater.backward(loss)

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""
        return self._updater.step()

    def discard(self) -> None:
        """Skip the current batch."""
        self._updater.discard()

    def train(self, mode: bool = True) -> None:
        """Switch training mode, such as dropout, on or off."""
        self.task.train(mode)

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights of the task's model."""
        return full_weights(self.task)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load all weights of the task's model."""
        load_full_weights(self.task, weights)

    def state(self) -> OptimizerState | None:
        """A copy of optimiser, schedule and scaler."""
        return self._updater.state()

    def load_state(self, state: OptimizerState) -> None:
        """Restore what `state` returned, here or on another number of workers."""
        self._updater.load_state(state)


def compiled(module: nn.Module, mode: Compilation) -> Callable[..., Any]:
    """The module compiled in the given mode; the module itself for `none`."""
    return module if mode == "none" else torch.compile(module, mode=_MODES[mode])
