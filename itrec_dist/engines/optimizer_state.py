"""The state of an optimiser, its schedule and loss scaler, in the same form for every engine.

Engines exchange full tensors by the name of the weight, so that a run can resume under another
engine or number of workers. On disk it is tensors and JSON:

    optimizer.safetensors   KEY:WEIGHT, such as exp_avg:model.encoder.norm.weight
    optimizer.json          the weights of each group, their rates, schedule, scaler, plain values

`torch.distributed.checkpoint.state_dict` is not used. Its `get_optimizer_state_dict` first runs an
update with zero gradients where the optimiser has no state yet (`_init_optim_state`, torch 2.13),
so that a state saved before the first update counts one; schedule, scaler, DeepSpeed's state and
the check that every value was applied would still need this module.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from itrec_dist.errors import CheckpointError
from itrec_dist.storage import atomic, hashed_files
from itrec_dist.storage import tensors as tensor_files
from itrec_dist.storage.hashed_files import Written

TENSORS_FILE = "optimizer.safetensors"
PLAIN_FILE = "optimizer.json"

Schedule = torch.optim.lr_scheduler.LambdaLR


@dataclass(frozen=True)
class OptimizerState:
    """All that the next update depends on besides the weights; full tensors on the CPU."""

    tensors: dict[str, torch.Tensor]
    """By KEY:WEIGHT, where KEY is the name in torch's optimiser; a tensor with dimensions has the
    weight's shape."""
    plain: dict[str, Any]
    """The same for values that are not tensors."""
    groups: list[list[str]]
    """Names of the weights of each parameter group."""
    rates: list[float]
    """Learning rate of each group."""
    schedule_step: int
    """Updates counted by the schedule."""
    scaler: dict[str, Any]
    """State of torch's GradScaler; empty where losses are not scaled."""


def write(folder: Path, state: OptimizerState) -> dict[str, Written]:
    """Write a state into `folder`; returns its files by name.

    Raises:
        OSError: a file cannot be written.
    """
    content = {
        "groups": state.groups,
        "rates": state.rates,
        "schedule_step": state.schedule_step,
        "scaler": state.scaler,
        "tensors": sorted(state.tensors),
        "plain": state.plain,
    }
    text = atomic.json_text(content).encode()
    return {
        TENSORS_FILE: tensor_files.write(folder / TENSORS_FILE, state.tensors),
        PLAIN_FILE: hashed_files.write(folder / PLAIN_FILE, text),
    }


def read(folder: Path, checksums: Mapping[str, str] | None = None) -> OptimizerState:
    """Read what `write` wrote, and compare it with the recorded checksums if there are any.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    checksums = checksums or {}
    path = folder / PLAIN_FILE
    raw = hashed_files.read(path, checksums.get(PLAIN_FILE))
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    tensors = tensor_files.read(folder / TENSORS_FILE, checksums.get(TENSORS_FILE))
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
    """Copy the state of an optimiser over `module`'s weights, its schedule and its scaler.

    Collective if weights are sharded; with `is_kept=False` a worker only participates and gets no
    tensors.
    """
    names = {id(weight): name for name, weight in module.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for weight, values in optimizer.state.items():
        for key, value in values.items():
            name = f"{key}:{names[id(weight)]}"
            if isinstance(value, torch.Tensor):
                gathered = full(value)
                if is_kept:
                    tensors[name] = copy_to_cpu(gathered)
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
    """Restore what `capture` returned: all of it, or none of it and an error.

    Raises:
        CheckpointError: it belongs to other weights or to another optimiser.
    """
    if state.groups != group_names(module, optimizer):
        raise CheckpointError("the optimiser state belongs to other weights or groups")
    try:
        _restore_values(optimizer, dict(module.named_parameters()), state.tensors | state.plain)
        restore_schedule(optimizer, schedule, state)
        if scaler.is_enabled() and state.scaler:
            scaler.load_state_dict(state.scaler)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the optimiser state does not fit: {error}") from error


def group_names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The names of the weights of each of an optimiser's groups."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    return [[names[id(w)] for w in group["params"]] for group in optimizer.param_groups]


def copy_to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that no later update changes."""
    return tensor.detach().to("cpu", copy=True)


def full(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor of a sharded one, gathered by all workers; any other tensor unchanged."""
    whole: torch.Tensor = tensor.full_tensor() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return whole


def sharded_like(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """This worker's shard of a full value, if `weight` is sharded; else `value` itself."""
    if not _is_sharded(weight):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(weight, DTensor)
    on_device = value.to(weight.device)
    return distribute_tensor(on_device, weight.device_mesh, weight.placements, src_data_rank=None)


def _is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor; that module takes half a second to import, so it is not for this."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def restore_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, state: OptimizerState
) -> None:
    """Set the learning rates and the schedule to those of the state."""
    for group, rate in zip(optimizer.param_groups, state.rates, strict=True):
        group["lr"] = rate
    step = state.schedule_step
    position = {"last_epoch": step, "_step_count": step + 1, "_last_lr": list(state.rates)}
    schedule.load_state_dict(schedule.state_dict() | position)


def _restore_values(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter],
    values: Mapping[str, Any],
) -> None:  # fmt: skip
    """Load the values into the optimiser in its own format, and verify that they were applied."""
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
        is_like_weight = isinstance(value, torch.Tensor) and value.ndim > 0
        own = sharded_like(value, weight) if is_like_weight else value
        state.setdefault(index[id(weight)], {})[key] = own
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for name, value in values.items():
        key, _, weight_name = name.partition(":")
        applied = optimizer.state[weights[weight_name]][key]
        if isinstance(value, torch.Tensor):
            assert torch.equal(full(applied).cpu(), value.to(applied.dtype)), name
