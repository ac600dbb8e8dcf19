"""DeepSpeed's ZeRO: optimiser state, gradients and weights sharded over the workers, by stage.

DeepSpeed runs the forward, reduces and shards gradients, clips them and applies torch's own
optimiser to its shard. Accumulation, the schedule, the loss scale of fp16 and precision are handled
here, so that they mean the same as under the other engines. Precision is autocast inside the module
that DeepSpeed wraps: weights, gradients, communication and optimiser state are fp32. DeepSpeed's
own precision sections are not used: `bf16` and `fp16` convert the module and its tables to half
precision, including the exact last product, and train copies of the weights; under
`torch_autocast` with fp16, ZeRO clips gradients before it removes the loss scale (_optimizer_step
against unscale_and_clip_grads in runtime/zero/stage_1_and_2.py, 0.19.8).

Nothing is compiled: torch's optimisers need no operator of DeepSpeed's, and shared-memory
communication, the one it would build on a CPU, serves only inference.
"""

import importlib.util
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import torch
import torch.distributed as dist
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.engines import optimizer_state, process_group
from itrec_dist.engines.deepspeed_settings import Sizes, derive
from itrec_dist.engines.engine import EngineConfig, Update, refuse_sharded_items
from itrec_dist.engines.optimizer_state import OptimizerState, copy_to_cpu
from itrec_dist.engines.optimizers import OptimizerConfig, build_optimizer, build_schedule
from itrec_dist.engines.precision import LossScale, PrecisionChoice, autocast
from itrec_dist.engines.row_updates import RowUpdates
from itrec_dist.engines.weights import model_of, refuse_misfits
from itrec_dist.engines.zero_parts import ZeroParts
from itrec_dist.errors import CheckpointError, ConfigError, EnvironmentProblem, TrainingError
from itrec_dist.models.output import Output


class DeepSpeedEngine:
    """A task under DeepSpeed, on torch's default process group."""

    name = "deepspeed"
    rows: RowUpdates | None = None

    def __init__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> None:  # fmt: skip
        process_group.ensure(device)
        library = _load(device)
        self.device = device
        self.task = task.to(device)
        self._stage = engine.deepspeed.stage
        self._accumulate = engine.accumulate
        self._micro_batches = 0
        self._clips = optimizer.clip_norm is not None
        self._optimizer = build_optimizer(optimizer, task)
        self._schedule = build_schedule(optimizer, self._optimizer, total_steps)
        self._scale = LossScale(device, engine.precision)
        self._groups = optimizer_state.group_names(task, self._optimizer)
        self._shapes = {name: w.shape for name, w in model_of(task).state_dict().items()}
        self._loss_B: torch.Tensor | None = None
        settings = derive(
            engine.deepspeed, engine.accumulate, optimizer.clip_norm, _sizes(task),
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        self._engine, *_ = library.initialize(
            model=_AutocastTask(task, device, engine.precision), optimizer=self._optimizer,
            config=settings, dist_init_required=False,
        )  # fmt: skip
        self._parts = ZeroParts(library, self._engine.optimizer, self._optimizer, self._stage)

    @staticmethod
    def check_settings(engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int) -> None:
        """Refuse settings that DeepSpeed does not honour, and a missing package."""
        del num_workers
        refuse_sharded_items(engine, "deepspeed")
        if importlib.util.find_spec("deepspeed") is None:
            raise EnvironmentProblem(
                "engine.name=deepspeed needs the package deepspeed, which runs only on Linux: "
                "`pip install deepspeed`, or set engine.name to ddp or fsdp"
            )
        if engine.compile != "none":
            raise ConfigError(
                f"engine.compile={engine.compile} does not work with engine.name=deepspeed: set "
                "engine.compile=none, or engine.name to single or ddp"
            )
        if optimizer.name == "adagrad" and engine.deepspeed.stage:
            # ZeRO rebuilds it from its defaults: one group, without weight decay and schedule.
            raise ConfigError(
                f"optimizer.name=adagrad loses its groups under engine.deepspeed.stage="
                f"{engine.deepspeed.stage}: choose another optimiser, or engine.deepspeed.stage=0"
            )

    def __call__(self, batch: Batch) -> Output:
        """Run the task; collective under stage 3, where workers gather weights."""
        loss_B, output = self._engine(batch)
        self._loss_B = loss_B if loss_B.requires_grad else None
        hooked: Output = replace(output, loss_B=loss_B)
        return hooked

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients."""
        self._loss_B = None
        self._engine.set_gradient_accumulation_boundary(self._micro_batches + 1 == self._accumulate)
        if self._scale.is_enabled and self._stage:
            self._engine.optimizer.override_loss_scale(self._scale.value)
        elif self._scale.is_enabled:
            loss = loss * self._scale.value
        self._engine.backward(loss)

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete.

        Raises:
            TrainingError: a gradient is not finite, and not because of an fp16 overflow: ZeRO
                skips such an update silently.
        """
        rate = float(self._schedule.get_last_lr()[0])
        self._micro_batches += 1
        if self._micro_batches < self._accumulate:
            self._engine.step()
            return Update(is_update=False, learning_rate=rate, grad_norm=None)
        self._micro_batches = 0
        norm, is_skipped = self._update_replicated() if self._stage == 0 else self._update_sharded()
        if self._scale.is_enabled:
            self._scale.update(is_skipped)
        elif is_skipped:
            raise TrainingError(
                "a gradient is not finite: lower optimizer.learning_rate, set optimizer.clip_norm "
                "or use engine.precision=fp32"
            )
        if not is_skipped:
            self._schedule.step()
        return Update(is_update=True, learning_rate=rate, grad_norm=norm if self._clips else None)

    def discard(self) -> None:
        """Skip the current batch."""
        if self._stage == 0:
            self._engine.zero_grad()
        else:
            # ZeRO skips an update that is not finite and drops all gradients gathered for it.
            assert self._loss_B is not None, "called before a forward"
            self._engine.set_gradient_accumulation_boundary(True)
            self._engine.backward(self._loss_B.sum() * math.nan)
            self._engine.step()
            assert self._engine.optimizer.overflow
        self._loss_B = None
        self._micro_batches = 0

    def train(self, mode: bool = True) -> None:
        """Switch training mode, such as dropout, on or off."""
        self._engine.train(mode)

    def weights(self) -> dict[str, torch.Tensor]:
        """The full weights of the task's model, on worker 0; gathered one by one."""
        return {
            name: copy_to_cpu(full)
            for name, full in self._parts.gathered(model_of(self.task))
            if dist.get_rank() == 0
        }

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load all weights of the task's model, and verify that they were applied."""
        refuse_misfits(weights, self._shapes)
        model = model_of(self.task)
        for name, weight in model.state_dict(keep_vars=True).items():
            self._parts.put_weight(weight, weights[name])
        for name, full in self._parts.gathered(model):
            assert torch.equal(full.cpu(), weights[name].to(full.dtype)), name
        for name, master in self._parts.masters(model):
            assert torch.equal(master.cpu(), weights[name].to(master.dtype)), name

    def state(self) -> OptimizerState | None:
        """A copy of optimiser, schedule and scaler, on worker 0; gathered one by one."""
        assert self._micro_batches == 0, "called in the middle of a batch"
        is_first = dist.get_rank() == 0
        if self._stage == 0:
            own = (self.task, self._optimizer, self._schedule, self._scale.scaler)
            return optimizer_state.capture(*own) if is_first else None
        weights = dict(self.task.named_parameters())
        tensors, plain = self._parts.values(weights, is_kept=is_first)
        if not is_first:
            return None
        return OptimizerState(
            tensors=tensors,
            plain=plain,
            groups=self._groups,
            rates=[float(group["lr"]) for group in self._optimizer.param_groups],
            schedule_step=self._schedule.last_epoch,
            scaler=self._scale.scaler.state_dict(),
        )

    def load_state(self, state: OptimizerState) -> None:
        """Restore what any engine's `state` returned, and verify that it was applied."""
        if self._stage == 0:
            own = (self.task, self._optimizer, self._schedule, self._scale.scaler)
            optimizer_state.restore(state, *own)
            return
        if state.groups != self._groups:
            raise CheckpointError("the optimiser state belongs to other weights or groups")
        weights = dict(self.task.named_parameters())
        try:
            self._parts.put_values(weights, {**state.tensors, **state.plain})
            optimizer_state.restore_schedule(self._optimizer, self._schedule, state)
            self._scale.load(state.scaler)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"the optimiser state does not fit: {error}") from error
        tensors, plain = self._parts.values(weights, is_kept=True)
        assert plain == state.plain
        assert tensors.keys() == state.tensors.keys()
        for name, value in state.tensors.items():
            assert torch.equal(tensors[name], value.to(tensors[name].dtype)), name

    def _update_sharded(self) -> tuple[torch.Tensor, bool]:
        """Stages 1 to 3: ZeRO unscales, clips and updates this worker's shard."""
        self._engine.step()
        norm = torch.as_tensor(self._engine.get_global_grad_norm())
        return norm, bool(self._engine.optimizer.overflow)

    def _update_replicated(self) -> tuple[torch.Tensor | None, bool]:
        """Stage 0: DeepSpeed reduces and clips, but neither unscales nor returns the norm."""
        norm = None
        if self._clips or self._scale.is_enabled:
            gradients = [w.grad for w in self.task.parameters() if w.grad is not None]
            if self._scale.is_enabled:
                torch._foreach_div_(gradients, self._scale.value)
            norm = nn.utils.get_total_norm(gradients)
        if self._scale.is_enabled and norm is not None and not norm.isfinite():
            self._engine.zero_grad()
            return norm, True
        self._engine.step()
        return norm, False


class _AutocastTask(nn.Module):
    """A task under autocast, for DeepSpeed to wrap.

    The autocast is inside because DeepSpeed disables one around it; the output is a tuple because
    DeepSpeed hooks only outputs in tuples, lists and dicts. The task's forward is called without
    the task's own hooks: a weight that is read outside its module's forward, such as the item
    table's, is kept by stage 3 for the innermost hooked module and gathered again for the backward
    by the hook on that module's output. That has to be this module, whose output is hooked.
    """

    def __init__(self, task: nn.Module, device: torch.device, precision: PrecisionChoice) -> None:
        super().__init__()
        self.task = task
        self._device, self._precision = device, precision

    def forward(self, batch: Batch) -> tuple[torch.Tensor, Output]:
        with autocast(self._device, self._precision):
            output: Output = self.task.forward(batch)
        return output.loss_B, output


def _sizes(task: nn.Module) -> Sizes:
    weights = list(task.parameters())
    return Sizes(
        parameters=sum(w.numel() for w in weights),
        longest_vector=max((w.numel() for w in weights if w.ndim <= 1), default=0),
    )


def _load(device: torch.device) -> ModuleType:
    """Import DeepSpeed for a device: without its log lines, and with nothing to compile.

    Raises:
        EnvironmentProblem: it cannot be imported.
    """
    if device.type == "cpu":  # otherwise it would use a GPU of this machine
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        os.environ.setdefault("LOCAL_RANK", "0")
    else:
        os.environ["LOCAL_RANK"] = str(device.index or 0)  # selects the device
    try:
        import deepspeed
    except Exception as error:  # a broken installation fails in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EnvironmentProblem(
            f"DeepSpeed cannot be loaded: {reason}; set engine.name to ddp or fsdp, or mend it"
        ) from error
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__ = {}
    module: ModuleType = deepspeed
    return module
