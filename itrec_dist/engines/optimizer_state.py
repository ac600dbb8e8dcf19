"""The state of an optimiser, its schedule and loss scaler: one form, whichever engine holds it.

An engine hands it out whole and takes it whole, by weight name, so that a run may go on under
another engine or on another number of workers. On disk it is tensors and JSON:

    optimizer.safetensors   KEY:WEIGHT, such as exp_avg:model.encoder.norm.weight
    optimizer.json          the weights of each group, their rates, schedule, scaler, plain values
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from itrec_dist.errors import CheckpointError
from itrec_dist.storage import atomic
from itrec_dist.storage import tensors as tensor_files

TENSORS_FILE = "optimizer.safetensors"
PLAIN_FILE = "optimizer.json"

Schedule = torch.optim.lr_scheduler.LambdaLR


@dataclass(frozen=True)
class OptimizerState:
    """All that the next update depends on besides the weights, in whole tensors on the CPU."""

    tensors: dict[str, torch.Tensor]
    """By KEY:WEIGHT, where KEY is what torch's optimiser calls it; a tensor with dimensions has the
    weight's shape."""
    plain: dict[str, Any]
    """The same for values that are no tensors."""
    groups: list[list[str]]
    """Names of the weights of each parameter group."""
    rates: list[float]
    """Learning rate of each group."""
    schedule_step: int
    """Updates that the schedule has counted."""
    scaler: dict[str, Any]
    """State of torch's GradScaler; empty where losses are not scaled."""


def write(folder: Path, state: OptimizerState) -> None:
    """Write a state into `folder`.

    Raises:
        OSError: a file cannot be written.
    """
    tensor_files.write(folder / TENSORS_FILE, state.tensors)
    content = {
        "groups": state.groups,
        "rates": state.rates,
        "schedule_step": state.schedule_step,
        "scaler": state.scaler,
        "tensors": sorted(state.tensors),
        "plain": state.plain,
    }
    atomic.write_json(folder / PLAIN_FILE, content)


def read(folder: Path) -> OptimizerState:
    """Read what `write` wrote.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    path = folder / PLAIN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no optimiser state (no {PLAIN_FILE})") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    tensors = tensor_files.read(folder / TENSORS_FILE)
    try:
        if content["tensors"] != sorted(tensors):
            raise CheckpointError(f"{folder / TENSORS_FILE} does not hold what {path} names")
        return OptimizerState(
            tensors=tensors,
            plain=dict(content["plain"]),
            groups=[list(group) for group in content["groups"]],
            rates=[float(rate) for rate in content["rates"]],
            schedule_step=int(content["schedule_step"]),
            scaler=dict(content["scaler"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def capture(
    module: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule,
    scaler: torch.amp.GradScaler, *, is_kept: bool = True,
) -> OptimizerState:  # fmt: skip
    """A copy of the state of an optimiser over `module`'s weights, its schedule and its scaler.

    Where workers hold parts of the weights all of them call it; those that keep nothing of it get
    no tensors.
    """
    names = {id(weight): name for name, weight in module.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for weight, values in optimizer.state.items():
        for key, value in values.items():
            name = f"{key}:{names[id(weight)]}"
            if isinstance(value, torch.Tensor):
                gathered = whole(value)
                if is_kept:
                    tensors[name] = copied(gathered)
            else:
                plain[name] = value
    return OptimizerState(
        tensors=tensors,
        plain=plain,
        groups=group_names(module, optimizer),
        rates=[float(group["lr"]) for group in optimizer.param_groups],
        schedule_step=schedule.last_epoch,
        scaler=scaler.state_dict(),
    )


def restore(
    state: OptimizerState, module: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule,
    scaler: torch.amp.GradScaler,
) -> None:  # fmt: skip
    """Take up what `capture` gave: all of it, or nothing with an error.

    Raises:
        CheckpointError: it belongs to other weights or to another optimiser.
    """
    if state.groups != group_names(module, optimizer):
        raise CheckpointError("the optimiser state belongs to other weights or groups")
    try:
        _take_values(optimizer, dict(module.named_parameters()), state.tensors | state.plain)
        take_schedule(optimizer, schedule, state)
        if scaler.is_enabled() and state.scaler:
            scaler.load_state_dict(state.scaler)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the optimiser state does not fit: {error}") from error


def group_names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The names of the weights of each of an optimiser's groups."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    return [[names[id(w)] for w in group["params"]] for group in optimizer.param_groups]


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that no later update changes."""
    return tensor.detach().to("cpu", copy=True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that workers hold in parts, gathered by all of them; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """This worker's part of a whole value, spread as `weight` is; all of it if that is whole."""
    if not isinstance(weight, DTensor):
        return value
    on_device = value.to(weight.device)
    return distribute_tensor(on_device, weight.device_mesh, weight.placements, src_data_rank=None)


def take_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, state: OptimizerState
) -> None:
    """Bring rates and schedule to where the state stands."""
    for group, rate in zip(optimizer.param_groups, state.rates, strict=True):
        group["lr"] = rate
    step = state.schedule_step
    position = {"last_epoch": step, "_step_count": step + 1, "_last_lr": list(state.rates)}
    schedule.load_state_dict(schedule.state_dict() | position)


def _take_values(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter],
    values: Mapping[str, Any],
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
                f"the optimiser state holds {name} of shape {list(value.shape)}, the weight has "
                f"{list(weight.shape)}"
            )
        is_spread = isinstance(value, torch.Tensor) and value.ndim > 0
        own = placed(value, weight) if is_spread else value
        state.setdefault(index[id(weight)], {})[key] = own
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for name, value in values.items():
        key, _, weight_name = name.partition(":")
        taken = optimizer.state[weights[weight_name]][key]
        if isinstance(value, torch.Tensor):
            assert torch.equal(whole(taken).cpu(), value.to(taken.dtype)), name
