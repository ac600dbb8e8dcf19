"""What the loop may ask of an engine, and the settings that all engines share.

An engine owns the module on its device, the numeric precision, gradient accumulation, clipping,
the optimiser and its schedule. The loop owns the order of events and never asks which engine it
drives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import nn

from itrec_dist.config.fields import FREE
from itrec_dist.data.schema import Batch
from itrec_dist.engines.deepspeed_settings import DeepSpeedConfig
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.precision import PrecisionChoice
from itrec_dist.models.output import Output

EngineName = Literal["auto", "single", "ddp", "deepspeed", "fsdp"]
Compilation = Literal["none", "default", "cuda_graphs"]


@dataclass(frozen=True)
class EngineConfig:
    """How the computation is carried out; none of it changes what is learned in principle."""

    name: EngineName = field(default="auto", metadata=FREE)
    """Who spreads the work: single (one worker), ddp (a copy per worker), deepspeed (ZeRO) or fsdp
    (weights in parts); auto is single with one worker and ddp with several."""
    precision: PrecisionChoice = "auto"
    """Type of the matrix products: fp32, or autocast to bf16 or fp16 (with loss scaling); auto is
    bf16 where every worker's device computes in it (CUDA of compute capability 8 and up, a CPU
    with AMX or AVX512-BF16) and fp32 elsewhere."""
    accumulate: int = field(default=1, metadata=FREE)
    """Micro-batches per update; must divide each worker's share of the batch."""
    compile: Compilation = field(default="none", metadata=FREE)
    """Compile the model with torch.compile, a slow first step for faster ones after it: none,
    default, or cuda_graphs (one launch for all kernels; on a GPU, engine single)."""
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig, metadata=FREE)
    """What engine deepspeed spreads; the other engines do not look at it."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"engine.accumulate={self.accumulate} must be at least 1")


@dataclass(frozen=True)
class Update:
    """What one call of `step` did."""

    is_update: bool
    """False while micro-batches are gathered."""
    learning_rate: float
    grad_norm: torch.Tensor | None
    """Norm of the gradient before clipping, on the device; null if it was not asked for."""


class Runner(Protocol):
    """A task on a device, ready to be run."""

    device: torch.device
    task: nn.Module
    """The task without wrappers: its weights are what checkpoints hold."""

    def __call__(self, batch: Batch) -> Output:
        """Run the task; an engine keeps gradients in training mode."""

    def train(self, mode: bool = True) -> None:
        """Switch dropout and the like on or off."""


class Engine(Runner, Protocol):
    """A task on a device, ready to be trained.

    The four verbs of checkpoints are called by every worker at the same moment, between two
    updates: an engine that holds a part of the weights on each worker has to gather them.
    """

    name: str
    """How the engine is called in settings, logs and checkpoints."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients."""

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""

    def discard(self) -> None:
        """Leave out the batch at hand: its gradients so far are dropped, nothing is updated.

        Called by every worker at the same micro-batch, after its forward and in place of its
        `backward` and `step`. The next micro-batch is the first of a batch again; the schedule and
        the loss scale stay as they are.
        """

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy on the CPU of the full weights of the task's model by name.

        Empty on the workers but the first, where an engine saves memory by it.
        """

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load the full weights of the task's model, every one of them, on every worker.

        Raises:
            CheckpointError: a weight is missing, unknown or of another shape.
        """

    def state(self) -> OptimizerState | None:
        """All that the next update depends on besides the weights, copied; None but on worker 0.

        Between two updates only, when no gradient is held.
        """

    def load_state(self, state: OptimizerState) -> None:
        """Take up what `state` gave, of this or another engine, after `load_weights`.

        Raises:
            CheckpointError: it does not fit: nothing is skipped in silence.
        """


class EngineKind(Protocol):
    """The class of an engine."""

    name: str

    def __call__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> Engine:  # fmt: skip
        """Take over a task; called by every worker, in the process group if there is one.

        Raises:
            EnvironmentProblem: this machine lacks something.
        """

    def refuse(self, engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int) -> None:
        """Refuse settings that this engine cannot keep, before any worker is started.

        Raises:
            ConfigError: what does not go together, and what would.
            EnvironmentProblem: a package is missing.
        """
