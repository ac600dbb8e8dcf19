"""The plain engine: one module on one device, and the updater that DDP shares."""

from collections.abc import Mapping

import torch
from torch import nn

from itrec_dist.engines import optimizer_state
from itrec_dist.engines.engine import EngineConfig, Precision, Update
from itrec_dist.engines.optimizer_state import OptimizerState, copied
from itrec_dist.errors import CheckpointError
from itrec_dist.optim import OptimizerConfig, build_optimizer, build_schedule
from itrec_dist.schema import Batch
from itrec_dist.tasks import TaskOutput

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Updater:
    """Loss scaling, accumulation, clipping, optimiser and schedule over one module's weights."""

    def __init__(
        self, module: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        self._module = module
        self._accumulate = engine.accumulate
        self._clip_norm = optimizer.clip_norm
        self._optimizer = build_optimizer(optimizer, module)
        self._schedule = build_schedule(optimizer, self._optimizer, total_steps)
        self._scaler = torch.amp.GradScaler(device.type, enabled=engine.precision == "fp16")
        self._micro_batches = 0

    @property
    def completes_batch(self) -> bool:
        """Whether the micro-batch at hand is the last of its batch."""
        return self._micro_batches + 1 == self._accumulate

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients to those of its batch."""
        self._scaler.scale(loss / self._accumulate).backward()

    def step(self) -> Update:
        """Count the micro-batch; at the last of a batch, update the weights."""
        rate = float(self._schedule.get_last_lr()[0])
        self._micro_batches += 1
        if self._micro_batches < self._accumulate:
            return Update(is_update=False, learning_rate=rate, grad_norm=None)
        self._micro_batches = 0
        norm = None
        if self._clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            norm = nn.utils.clip_grad_norm_(self._module.parameters(), self._clip_norm)
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._scaler.get_scale() >= scale:  # else the step overflowed and was left out
            self._schedule.step()
        return Update(is_update=True, learning_rate=rate, grad_norm=norm)

    def state(self) -> OptimizerState:
        """A copy of optimiser, schedule and scaler; between two updates, so no gradient is held."""
        assert self._micro_batches == 0, "asked for in the middle of a batch"
        return optimizer_state.capture(self._module, self._optimizer, self._schedule, self._scaler)

    def load_state(self, state: OptimizerState) -> None:
        """Take up what `state` gave."""
        optimizer_state.restore(state, self._module, self._optimizer, self._schedule, self._scaler)


def whole_weights(task: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights of a task's model where each worker holds all of them."""
    weights = task.get_submodule("model").state_dict()
    return {name: copied(weight) for name, weight in weights.items()}


def load_whole_weights(task: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Take over the weights of a task's model, every one of them.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    try:
        task.get_submodule("model").load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights do not fit their configuration: {reason}") from error


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast context of a precision; a disabled one for fp32."""
    return torch.autocast(
        device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST
    )


class InferenceEngine:
    """A task that is only run: for judging and recommending."""

    def __init__(self, task: nn.Module, engine: EngineConfig, device: torch.device) -> None:
        self.device = device
        self.task = task.to(device)
        self._precision = engine.precision

    def __call__(self, batch: Batch) -> TaskOutput:
        """Run the task under the precision asked for, without gradients."""
        with torch.no_grad(), autocast(self.device, self._precision):
            output: TaskOutput = self.task(batch)
        return output

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        self.task.train(mode)


class SingleEngine:
    """One process, one device, no communication."""

    name = "single"

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.device = device
        self.task = task.to(device)
        self._precision = engine.precision
        self._forward = torch.compile(self.task) if engine.compile else self.task
        self._updater = Updater(self.task, engine, optimizer, total_steps, device)

    def __call__(self, batch: Batch) -> TaskOutput:
        """Run the task under the precision asked for."""
        with autocast(self.device, self._precision):
            output: TaskOutput = self._forward(batch)
        return output

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients."""
        self._updater.backward(loss)

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""
        return self._updater.step()

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        self.task.train(mode)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the task's model."""
        return whole_weights(self.task)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights of the task's model, every one of them."""
        load_whole_weights(self.task, weights)

    def state(self) -> OptimizerState:
        """A copy of optimiser, schedule and scaler."""
        return self._updater.state()

    def load_state(self, state: OptimizerState) -> None:
        """Take up what `state` gave, here or on several workers."""
        self._updater.load_state(state)
