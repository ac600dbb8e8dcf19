"""The interface of an engine to the training loop, and the settings that all engines share.

An engine owns the module on its device, the numeric precision, gradient accumulation, clipping,
the optimiser and its schedule. The loop owns the order of events and does not know which engine
it drives.
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
from itrec_dist.engines.row_updates import RowUpdates
from itrec_dist.errors import ConfigError
from itrec_dist.models.output import Output

EngineName = Literal["auto", "single", "ddp", "deepspeed", "fsdp"]
Compilation = Literal["none", "default", "cuda_graphs"]
ItemTableName = Literal["replicated", "sharded"]


@dataclass(frozen=True)
class EngineConfig:
    """How the computation is carried out, which does not change what is learned in principle."""

    name: EngineName = field(default="auto", metadata=FREE)
    """Parallelism: single (one worker), ddp (replicated), deepspeed (ZeRO) or fsdp (sharded);
    auto is single with one worker and ddp with several."""
    precision: PrecisionChoice = "auto"
    """Type of the matrix products: fp32, or autocast to bf16 or fp16 (with loss scaling); auto is
    bf16 where every worker's device computes in it (CUDA of compute capability 8 and up, a CPU
    with AMX or AVX512-BF16) and fp32 elsewhere."""
    accumulate: int = field(default=1, metadata=FREE)
    """Micro-batches per update; must divide each worker's share of the batch."""
    compile: Compilation = field(default="none", metadata=FREE)
    """torch.compile mode, a slow first step in return for faster later ones: none, default, or
    cuda_graphs (one launch for all kernels; on a GPU with engine single)."""
    item_table: ItemTableName = "replicated"
    """Where item vectors lie: replicated holds all of them on every worker; sharded
    divides them by rows among the workers, which fetch the rows that a batch uses and update only
    those (for a loss that draws items, under engine single or ddp)."""
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig, metadata=FREE)
    """DeepSpeed (ignored by other engines)"""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"engine.accumulate={self.accumulate} must be at least 1")


def refuse_sharded_items(engine: EngineConfig, name: str) -> None:
    """Refuse item vectors that are sharded over workers, under an engine that divides all weights.

    Raises:
        ConfigError: they are asked for.
    """
    if engine.item_table == "sharded":
        raise ConfigError(
            f"engine.item_table=sharded does not work with engine.name={name}, which divides all "
            "weights by itself: set engine.name to ddp, single or auto, or engine.item_table to "
            "replicated"
        )


@dataclass(frozen=True)
class Update:
    """The outcome of one call of `step`."""

    is_update: bool
    """False while micro-batches are being accumulated."""
    learning_rate: float
    grad_norm: torch.Tensor | None
    """Norm of the gradient before clipping, on the device; None if clipping is off."""


class Runner(Protocol):
    """A task on a device, ready to run."""

    device: torch.device
    task: nn.Module
    """The task without wrappers; checkpoints hold its weights."""

    def __call__(self, batch: Batch) -> Output:
        """Run the task; an engine records gradients in training mode."""

    def train(self, mode: bool = True) -> None:
        """Switch training mode, such as dropout, on or off."""


class Engine(Runner, Protocol):
    """A task on a device, ready to train.

    The four methods for checkpoints are collective and called between two updates: an engine with
    sharded weights has to gather them.
    """

    name: str
    """The engine's name in settings, logs and checkpoints."""
    rows: RowUpdates | None
    """This worker's rows of sharded item vectors and their state, which are saved and loaded beside
    `weights` and `state`; None without."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add this micro-batch's gradients."""

    def step(self) -> Update:
        """Update the weights if the micro-batches of a batch are complete."""

    def discard(self) -> None:
        """Skip the current batch: its gradients so far are dropped, nothing is updated.

        Called by every worker at the same micro-batch, after its forward and instead of its
        `backward` and `step`. The next micro-batch is the first of a new batch; the schedule and
        the loss scale do not change.
        """

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy on the CPU of the full weights of the task's model by name.

        Engines may return an empty dict on all workers but the first, to save memory.
        """

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load all full weights of the task's model, on every worker.

        Raises:
            CheckpointError: a weight is missing, unknown or of another shape.
        """

    def state(self) -> OptimizerState | None:
        """A copy of all that the next update depends on besides the weights; None but on worker 0.

        Between two updates only, when no gradient is held.
        """

    def load_state(self, state: OptimizerState) -> None:
        """Restore what `state` returned, from this or another engine, after `load_weights`.

        Raises:
            CheckpointError: it does not fit; nothing is skipped silently.
        """


class EngineKind(Protocol):
    """The class of an engine."""

    name: str

    def __call__(
        self, task: nn.Module, engine: EngineConfig, optimizer: OptimizerConfig,
        total_steps: int, device: torch.device,
    ) -> Engine:  # fmt: skip
        """Set up the engine for a task; called by every worker, in the process group if any.

        Raises:
            EnvironmentProblem: this machine lacks something.
        """

    def check_settings(
        self, engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int
    ) -> None:
        """Refuse settings that this engine cannot honour, before any worker is started.

        Raises:
            ConfigError: settings do not go together; the message says which would.
            EnvironmentProblem: a package is missing.
        """
