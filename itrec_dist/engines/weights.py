"""The weights of a task's model by name: given out whole, taken whole or refused."""

from collections.abc import Mapping

import torch
from torch import nn

from itrec_dist.engines.optimizer_state import copied, whole
from itrec_dist.errors import CheckpointError


def model_of(task: nn.Module) -> nn.Module:
    """The part of a task that checkpoints hold."""
    return task.get_submodule("model")


def whole_weights(task: nn.Module, *, is_kept: bool = True) -> dict[str, torch.Tensor]:
    """A copy of the weights of a task's model; empty for a worker that only helps to gather."""
    weights = {}
    for name, weight in model_of(task).state_dict().items():
        gathered = whole(weight)
        if is_kept:
            weights[name] = copied(gathered)
    return weights


def load_whole_weights(task: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Take over the weights of a task's model, every one of them.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    try:
        model_of(task).load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights do not fit their configuration: {reason}") from error


def refuse_misfits(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Look that `weights` are those of `shapes`, where no module can tell: they are in parts.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    differing = [
        f"{name} is {_told(weights.get(name))} in place of {list(shape)}"
        for name, shape in shapes.items()
        if name not in weights or weights[name].shape != shape
    ]
    differing += [f"{name} is unknown" for name in weights if name not in shapes]
    if differing:
        reason = "; ".join(differing)
        raise CheckpointError(f"the weights do not fit their configuration: {reason}")


def _told(weight: torch.Tensor | None) -> str:
    return "missing" if weight is None else str(list(weight.shape))
