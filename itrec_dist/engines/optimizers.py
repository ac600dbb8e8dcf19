"""The settings of optimisers and learning-rate schedules, and how torch's own are built."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from itrec_dist.config.fields import CHANGEABLE

OptimizerName = Literal["adamw", "adam", "sgd", "adagrad"]
ScheduleName = Literal["one_cycle", "cosine", "linear", "constant"]

_ONE_CYCLE_START = 25.0  # peak over initial rate, as in torch.optim.lr_scheduler.OneCycleLR
_ONE_CYCLE_END = 1e4


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are updated."""

    name: OptimizerName = "adamw"
    """Optimiser of torch.optim."""
    learning_rate: float = field(default=2e-3, metadata=CHANGEABLE)
    """Peak learning rate."""
    weight_decay: float = field(default=0.01, metadata=CHANGEABLE)
    """Weight decay (decoupled with adamw); not applied to biases, norms and, unless
    decay_embeddings says so, embeddings."""
    decay_embeddings: bool = False
    """Apply weight decay to embeddings too. All their rows decay at every step, also those that
    the batch does not use, so that rare items end near zero."""
    beta1: float = field(default=0.9, metadata=CHANGEABLE)
    """Decay of the first moment (momentum with sgd)."""
    beta2: float = field(default=0.98, metadata=CHANGEABLE)
    """Decay of the second moment; not used by sgd and adagrad."""
    schedule: ScheduleName = "one_cycle"
    """Learning-rate schedule over all steps: one_cycle (cosine up and down), cosine or linear
    decay to zero after the warm-up, or constant after it."""
    warmup_fraction: float = 0.2
    """Fraction of all steps in which the learning rate rises, 0 <= f < 1."""
    clip_norm: float | None = field(default=None, metadata=CHANGEABLE)
    """Maximum norm of the gradient over all weights, above 0; null does not clip."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"optimizer.learning_rate={self.learning_rate} must be a number above 0"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"optimizer.weight_decay={self.weight_decay} must be a number of at least 0"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(
                f"optimizer.beta1={self.beta1} and beta2={self.beta2} must be in 0 <= b < 1"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(
                f"optimizer.warmup_fraction={self.warmup_fraction} must be in 0 <= f < 1"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"optimizer.clip_norm={self.clip_norm} must be above 0, or null")


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over a module's weights, in one group with weight decay and one without."""
    spared: set[int] = set()
    if not config.decay_embeddings:
        tables = (m for m in module.modules() if isinstance(m, nn.Embedding))
        spared = {id(p) for table in tables for p in table.parameters()}
    decayed = [p for p in module.parameters() if p.ndim > 1 and id(p) not in spared]
    others = [p for p in module.parameters() if p.ndim <= 1 or id(p) in spared]
    groups: Iterable[dict[str, object]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    lr, betas = config.learning_rate, (config.beta1, config.beta2)
    # Fused kernels update all weights in one pass: small models are bound by kernel launches.
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
    if config.name == "adagrad":
        return torch.optim.Adagrad(groups, lr=lr)
    # Not fused: its momentum would stay uninitialised if fp16 skipped the first step.
    return torch.optim.SGD(groups, lr=lr, momentum=config.beta1)


def build_schedule(
    config: OptimizerConfig, optimizer: torch.optim.Optimizer, total_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule over `total_steps` updates, counted from 0."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(config, total_steps))


def rate_factor(config: OptimizerConfig, total_steps: int) -> Callable[[int], float]:
    """The learning rate at each update as a fraction of the peak, 0 <= factor <= 1."""
    warmup = round(config.warmup_fraction * total_steps)
    start = 1 / _ONE_CYCLE_START if config.schedule == "one_cycle" else 0.0
    end = start / _ONE_CYCLE_END if config.schedule == "one_cycle" else 0.0

    def factor(step: int) -> float:
        if step < warmup:
            rise = (step + 1) / warmup
            if config.schedule == "one_cycle":
                rise = (1 - math.cos(math.pi * rise)) / 2
            return start + (1 - start) * rise
        if config.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        if config.schedule == "linear":
            return 1.0 - progress
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2

    return factor
