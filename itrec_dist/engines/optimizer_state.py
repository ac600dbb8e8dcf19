"""A torch optimiser, its schedule and loss scaler on disk: tensors by weight name, and JSON.

optimizer.safetensors   KEY:WEIGHT, such as exp_avg:model.encoder.norm.weight
optimizer.json          the weights of each group, their rates, schedule, scaler, plain values
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from itrec_dist import outputs, tensor_files
from itrec_dist.errors import CheckpointError

TENSORS_FILE = "optimizer.safetensors"
PLAIN_FILE = "optimizer.json"

Schedule = torch.optim.lr_scheduler.LambdaLR


def save(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule,
    scaler: torch.amp.GradScaler,
) -> None:  # fmt: skip
    """Write the state of an optimiser over `module`'s weights, its schedule and its scaler."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for weight, values in optimizer.state.items():
        for key, value in values.items():
            name = f"{key}:{names[id(weight)]}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            else:
                plain[name] = value
    tensor_files.write(folder / TENSORS_FILE, tensors)
    content = {
        "groups": _groups(names, optimizer),
        "rates": [group["lr"] for group in optimizer.param_groups],
        "schedule_step": schedule.last_epoch,
        "scaler": scaler.state_dict(),
        "tensors": sorted(tensors),
        "plain": plain,
    }
    outputs.write_json(folder / PLAIN_FILE, content)


def load(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule,
    scaler: torch.amp.GradScaler,
) -> None:  # fmt: skip
    """Take up what `save` wrote: all of it, or nothing with an error.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to other weights.
    """
    path = folder / PLAIN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} holds no optimiser state that this engine can read (no {PLAIN_FILE})"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    tensors = tensor_files.read(folder / TENSORS_FILE)
    weights = dict(module.named_parameters())
    names = {id(weight): name for name, weight in weights.items()}
    try:
        if content["groups"] != _groups(names, optimizer):
            raise CheckpointError(f"{path} belongs to an optimiser of other weights or groups")
        if content["tensors"] != sorted(tensors):
            raise CheckpointError(f"{folder / TENSORS_FILE} does not hold what {path} names")
        _take_tensors(optimizer, weights, tensors | content["plain"], folder)
        _take_rates(optimizer, schedule, content["rates"], content["schedule_step"])
        if scaler.is_enabled():
            scaler.load_state_dict(content["scaler"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or does not fit: {error}") from error


def _groups(names: Mapping[int, str], optimizer: torch.optim.Optimizer) -> list[list[str]]:
    return [[names[id(w)] for w in group["params"]] for group in optimizer.param_groups]


def _take_tensors(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter],
    values: Mapping[str, Any], folder: Path,
) -> None:  # fmt: skip
    """Hand the values to the optimiser in its own format, and look that they have arrived."""
    ordered = [weight for group in optimizer.param_groups for weight in group["params"]]
    index = {id(weight): i for i, weight in enumerate(ordered)}
    state: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        key, _, weight_name = name.partition(":")
        weight = weights[weight_name]
        if isinstance(value, torch.Tensor) and value.ndim and value.shape != weight.shape:
            raise CheckpointError(
                f"{folder / TENSORS_FILE} holds {name} of shape {list(value.shape)}, the weight "
                f"has {list(weight.shape)}"
            )
        state.setdefault(index[id(weight)], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for name, value in values.items():
        key, _, weight_name = name.partition(":")
        taken = optimizer.state[weights[weight_name]][key]
        if isinstance(value, torch.Tensor):
            assert torch.equal(taken.cpu(), value.to(taken.dtype)), name


def _take_rates(
    optimizer: torch.optim.Optimizer, schedule: Schedule, rates: list[float], step: int
) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = float(rate)
    position = {"last_epoch": int(step), "_step_count": int(step) + 1, "_last_lr": list(rates)}
    schedule.load_state_dict(schedule.state_dict() | position)
