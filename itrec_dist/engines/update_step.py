"""Backward, accumulation, clipping and update, where torch holds the gradients."""

import torch
from torch import nn

from itrec_dist.engines import optimizer_state
from itrec_dist.engines.engine import EngineConfig, Update
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.engines.optimizers import OptimizerConfig, build_optimizer, build_schedule
from itrec_dist.engines.precision import loss_scaler
from itrec_dist.engines.row_updates import RowUpdates, items_of


class Updater:
    """Loss scaling, accumulation, clipping, optimiser and schedule over one module's weights.

    Sharded item vectors, if it has any, are updated beside them: `rows`.
    """

    def __init__(
        self, module: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        self._module = module
        self._accumulate = engine.accumulate
        self._clip_norm = optimizer.clip_norm
        self._optimizer = build_optimizer(optimizer, module)
        self._schedule = build_schedule(optimizer, self._optimizer, total_steps)
        self._scaler = loss_scaler(device, engine.precision)
        items = items_of(module)
        self.rows = None if items is None else RowUpdates(items, optimizer)
        self._micro_batches = 0
        # A CUDA graph reuses the memory of its outputs in its next run: gradients that are
        # accumulated over micro-batches need memory of their own.
        self._keeps_gradients = engine.compile == "cuda_graphs"
        if self._keeps_gradients:
            for weight in module.parameters():
                weight.grad = torch.zeros_like(weight)

    @property
    def completes_batch(self) -> bool:
        """Whether the current micro-batch is the last of its batch."""
        return self._micro_batches + 1 == self._accumulate

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients to those of its batch."""
        self._scaler.scale(loss / self._accumulate).backward()

    def step(self) -> Update:
        """Count the micro-batch; update the weights at the last one of a batch."""
        rate = float(self._schedule.get_last_lr()[0])
        self._micro_batches += 1
        if self._micro_batches < self._accumulate:
            return Update(is_update=False, learning_rate=rate, grad_norm=None)
        if self.rows is not None:
            self.rows.collect()
        norm = None if self._clip_norm is None else self._clip(self._clip_norm)
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self.rows is not None:
            self.rows.update(rate, self._schedule.last_epoch + 1)
        self.discard()
        if self._scaler.get_scale() >= scale:  # otherwise the step overflowed and was skipped
            self._schedule.step()
        return Update(is_update=True, learning_rate=rate, grad_norm=norm)

    def discard(self) -> None:
        """Drop the gradients of the current batch; the next micro-batch starts another."""
        self._optimizer.zero_grad(set_to_none=not self._keeps_gradients)
        if self.rows is not None:
            self.rows.discard()
        self._micro_batches = 0

    def _clip(self, most: float) -> torch.Tensor:
        """Clip the gradient of all weights; returns its norm before."""
        self._scaler.unscale_(self._optimizer)
        if self.rows is None:
            return nn.utils.clip_grad_norm_(self._module.parameters(), most)
        weights = list(self._module.parameters())
        dense = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        norm = (dense.square() + self.rows.squared_norm()).sqrt()
        nn.utils.clip_grads_with_norm_(weights, most, norm)
        self.rows.scale((most / (norm + 1e-6)).clamp(max=1.0))  # as torch does
        return norm

    def state(self, *, is_kept: bool = True) -> OptimizerState:
        """A copy of optimiser, schedule and scaler; between two updates, so no gradient is held.

        Collective if weights are sharded; without tensors for a worker with `is_kept=False`.
        """
        assert self._micro_batches == 0, "called in the middle of a batch"
        own = (self._module, self._optimizer, self._schedule, self._scaler)
        return optimizer_state.capture(*own, is_kept=is_kept)

    def load_state(self, state: OptimizerState) -> None:
        """Restore what `state` returned."""
        optimizer_state.restore(state, self._module, self._optimizer, self._schedule, self._scaler)
