"""Reads and writes weights and optimiser state that DeepSpeed's ZeRO has sharded.

DeepSpeed itself is a parameter: only its engine imports it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from itrec_dist.engines.optimizer_state import copy_to_cpu
from itrec_dist.errors import CheckpointError


class ZeroParts:
    """Full tensors by weight under ZeRO; all methods are collective.

    DeepSpeed flattens the weights of a group into one tensor and gives each worker a partition of
    it; the optimiser knows only these flat partitions. The functions of `deepspeed.utils` that
    start with `safe_` find a weight's shard in them.
    """

    def __init__(
        self, library: ModuleType, zero: Any, optimizer: torch.optim.Optimizer, stage: int
    ) -> None:
        self._library, self._zero, self._optimizer, self._stage = library, zero, optimizer, stage

    def gathered(self, model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """The full weights as the forward reads them, one at a time."""
        for name, weight in model.state_dict(keep_vars=True).items():
            with self._full(weight):
                yield name, weight

    def put_weight(self, weight: torch.Tensor, value: torch.Tensor) -> None:
        """Write a weight where the forward reads it and, if sharded, in the optimiser's copy."""
        with torch.no_grad(), self._full(weight, written=True):
            weight.copy_(value)
        if isinstance(weight, nn.Parameter) and self._stage:
            self._put(weight, value)

    def masters(self, model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """The optimiser's own copies of the weights; none under stage 0."""
        for name, weight in model.named_parameters():
            if self._stage:
                yield name, self._library.utils.safe_get_full_fp32_param(weight)

    def values(
        self, weights: Mapping[str, nn.Parameter], *, is_kept: bool
    ) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The optimiser's tensors and plain values by KEY:WEIGHT; empty unless `is_kept`."""
        first = self._flat_partitions()[0]
        held = self._optimizer.state.get(first, {})
        self._link()
        tensors: dict[str, torch.Tensor] = {}
        plain: dict[str, Any] = {}
        for key, value in held.items():
            is_sharded = isinstance(value, torch.Tensor) and value.ndim > 0
            for name, weight in weights.items():
                if is_sharded:
                    full = self._library.utils.safe_get_full_optimizer_state(weight, key)
                    if is_kept:
                        tensors[f"{key}:{name}"] = copy_to_cpu(full)
                elif is_kept and isinstance(value, torch.Tensor):
                    tensors[f"{key}:{name}"] = copy_to_cpu(value)
                elif is_kept:
                    plain[f"{key}:{name}"] = value
        return tensors, plain

    def put_values(self, weights: Mapping[str, nn.Parameter], values: Mapping[str, Any]) -> None:
        """Write the optimiser's state.

        Raises:
            CheckpointError: it has other weights, other shapes, or counts that differ by weight.
        """
        by_key: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            key, _, weight_name = name.partition(":")
            by_key.setdefault(key, {})[weight_name] = value
        for key, by_name in by_key.items():
            _refuse_misfits(key, by_name, weights)
        sharded = {k: v for k, v in by_key.items() if _is_sharded(v)}
        single = {k: _common_value(k, v) for k, v in by_key.items() if k not in sharded}
        self._allocate(list(sharded), single)
        for key, by_name in sharded.items():
            for name, weight in weights.items():
                self._put(weight, by_name[name], key)

    def _allocate(self, sharded: list[str], single: Mapping[str, Any]) -> None:
        """Create the state that the optimiser's first update would create, to be filled."""
        self._optimizer.state.clear()
        if not sharded and not single:
            return
        fused = bool(self._optimizer.defaults.get("fused"))
        for partition in self._flat_partitions():
            state = self._optimizer.state[partition]
            state.update({key: torch.zeros_like(partition) for key in sharded})
            # Fused kernels keep their step counts on the device of the weights.
            place = partition.device if fused else torch.device("cpu")
            for key, value in single.items():
                is_tensor = isinstance(value, torch.Tensor)
                state[key] = value.to(place, copy=True) if is_tensor else value
        self._link()

    def _link(self) -> None:
        """Link the current optimiser state to the weights, for the `safe_` functions.

        Stages 1 and 2 do this once, after the first update of the first group, when the other
        groups have no state yet (_optimizer_step in runtime/zero/stage_1_and_2.py, 0.19.8).
        """
        if self._stage < 3:
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()

    def _put(self, weight: Any, value: torch.Tensor, key: str | None = None) -> None:
        """Write this worker's shard of a weight in the optimiser, or of its state for a key."""
        tools = self._library.utils
        value = value.to(torch.float32).contiguous()
        if self._stage == 3:
            # `safe_set_full_*` reads past the end if the weight does not divide evenly.
            size = weight.ds_tensor.numel()
            padding = size * dist.get_world_size() - value.numel()
            value = nn.functional.pad(value.flatten(), (0, padding))
            value = value[size * dist.get_rank() :][:size]
            if key is None:
                tools.safe_set_local_fp32_param(weight, value)
            else:
                tools.safe_set_local_optimizer_state(weight, value, key)
        elif key is None:
            tools.safe_set_full_fp32_param(weight, value)
        else:
            tools.safe_set_full_optimizer_state(weight, value, key)

    def _flat_partitions(self) -> list[torch.Tensor]:
        if self._stage == 3:
            return list(self._zero.fp32_partitioned_groups_flat)
        return list(self._zero.single_partition_of_fp32_groups)

    def _full(
        self, weight: torch.Tensor, *, written: bool = False
    ) -> contextlib.AbstractContextManager[Any]:
        if not hasattr(weight, "ds_id"):  # a buffer, or a stage that does not shard weights
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = self._library.zero.GatheredParameters(
            [weight], modifier_rank=0 if written else None
        )
        return context


def _is_sharded(by_name: Mapping[str, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) and value.ndim for value in by_name.values())


def _common_value(key: str, by_name: Mapping[str, Any]) -> Any:
    """The value that all weights share: ZeRO keeps one per flat partition."""
    value, *others = by_name.values()
    if any(other != value for other in others):
        raise CheckpointError(f"the optimiser's {key} differs by weight, which ZeRO cannot hold")
    return value


def _refuse_misfits(
    key: str, by_name: Mapping[str, Any], weights: Mapping[str, nn.Parameter]
) -> None:
    if by_name.keys() != weights.keys():
        raise CheckpointError(f"the optimiser state holds {key} of other weights")
    for name, weight in weights.items():
        value = by_name[name]
        shape = getattr(weight, "ds_shape", weight.shape)  # stage 3 leaves none on the weight
        if isinstance(value, torch.Tensor) and value.ndim and value.shape != shape:
            raise CheckpointError(
                f"the optimiser state holds {key}:{name} of shape {list(value.shape)}, the weight "
                f"has {list(shape)}"
            )
