"""Copies and loads the full weights of a task's model by name.

`torch.distributed.checkpoint.state_dict` is not used: `get_model_state_dict` returns the weights
themselves if they are already on the CPU, and a snapshot needs copies.
"""

from collections.abc import Mapping

import torch
from torch import nn

from itrec_dist.engines.optimizer_state import copy_to_cpu, full
from itrec_dist.errors import CheckpointError


def model_of(task: nn.Module) -> nn.Module:
    """The part of a task that checkpoints hold."""
    return task.get_submodule("model")


def full_weights(task: nn.Module, *, is_kept: bool = True) -> dict[str, torch.Tensor]:
    """A copy of the full weights of a task's model; empty with `is_kept=False`."""
    weights = {}
    for name, weight in model_of(task).state_dict().items():
        gathered = full(weight)
        if is_kept:
            weights[name] = copy_to_cpu(gathered)
    return weights


def load_full_weights(task: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load all weights of a task's model.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    try:
        model_of(task).load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights do not fit their configuration: {reason}") from error


def refuse_misfits(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Refuse `weights` that do not match `shapes`, for sharded weights that torch cannot check.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    differing = [
        f"{name} is {_shape_or_missing(weights.get(name))} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name not in weights or weights[name].shape != shape
    ]
    differing += [f"{name} is unknown" for name in weights if name not in shapes]
    if differing:
        reason = "; ".join(differing)
        raise CheckpointError(f"the weights do not fit their configuration: {reason}")


def _shape_or_missing(weight: torch.Tensor | None) -> str:
    return "missing" if weight is None else str(list(weight.shape))
