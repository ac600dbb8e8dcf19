"""Updates of sharded item vectors: of the rows that a batch took, and of no others.

The first moment has a number for each weight, the second one for each row: the mean over the row of
the squared gradients. A row that a batch does not use stays as it is, moments included, so that an
update costs what the batch holds and not what the catalogue holds. Both are what recommenders use
for large tables: row-wise Adagrad in Naumov et al., Deep Learning Recommendation Model for
Personalization and Recommendation Systems (2019); Adam without moments' decay in unused rows as in
torch.optim.SparseAdam.

Letters as in `distributed/row_sharding.py`; D numbers of a row of one table.
"""

import math

import torch
from torch import Tensor, nn

from itrec_dist.distributed.row_sharding import summed
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.errors import ConfigError
from itrec_dist.models.parts.sharded_items import ItemShard

_EPS = {"adam": 1e-8, "adagrad": 1e-10}  # as torch's

STATES = {
    "adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq"), "adagrad": ("sum",),
    "sgd": (),
}  # fmt: skip
"""What each optimiser keeps of a table, by the names that torch's own have for it."""


def check(optimizer: OptimizerConfig) -> None:
    """Refuse what rows would need in every update: momentum, and decay.

    Raises:
        ConfigError: names the setting.
    """
    if optimizer.name == "sgd" and optimizer.beta1:
        raise ConfigError(
            f"engine.item_table=sharded updates only the rows of a batch, and optimizer.beta1="
            f"{optimizer.beta1} with sgd moves all of them: set it to 0, or optimizer.name to "
            "adam, adamw or adagrad"
        )
    if optimizer.decay_embeddings:
        raise ConfigError(
            "engine.item_table=sharded updates only the rows of a batch, and "
            "optimizer.decay_embeddings=true lets all of them decay: leave it out"
        )


def items_of(module: nn.Module) -> ItemShard | None:
    """The sharded item vectors of a module, if it has any."""
    return next((m for m in module.modules() if isinstance(m, ItemShard)), None)


class RowUpdates:
    """The gradients, optimiser state and updates of this worker's rows."""

    def __init__(self, items: ItemShard, optimizer: OptimizerConfig) -> None:
        self.items, self._config = items, optimizer
        self._found: tuple[Tensor, Tensor] | None = None
        self.state: dict[str, Tensor] = {}
        """By KEY:TABLE, as `OptimizerState.tensors`; one number per row, or the table's shape."""
        for name, table in items.tables.items():
            for key in STATES[optimizer.name]:
                is_like_table = key == "exp_avg"
                shape = table.shape if is_like_table else table.shape[:1]
                self.state[f"{key}:{name}"] = table.new_zeros(shape)

    @torch.no_grad()
    def collect(self) -> None:
        """Add up the gradients of all micro-batches and workers, each at the worker of its row.

        Called by all workers. The mean over workers is taken, as of all other gradients.
        """
        taken = [one for one in self.items.taken if one.values_UE.grad is not None]
        width = self.items.width + 1
        rows_N = torch.cat([one.rows_U for one in taken]) if taken else self._nothing(torch.int64)
        gradients = [one.values_UE.grad for one in taken if one.values_UE.grad is not None]
        values_NE = torch.cat(gradients) if taken else self._nothing(torch.float32, width)
        self.items.taken.clear()
        if len(taken) > 1:
            rows_N, values_NE = summed(rows_N, values_NE)
        places_M, sums_ME = self.items.sharding.add_up(rows_N, values_NE)
        self._found = places_M, sums_ME.div_(self.items.sharding.num_workers)

    def squared_norm(self) -> Tensor:
        """The squared norm of the gradient, over the rows of all workers."""
        assert self._found is not None
        return self.items.sharding.sum(self._found[1].square().sum())

    def scale(self, factor: Tensor) -> None:
        """Multiply the gradient."""
        assert self._found is not None
        self._found[1].mul_(factor)

    @torch.no_grad()
    def update(self, rate: float, number: int) -> None:
        """Update the rows that have a gradient; `number` is that of the update, from 1."""
        assert self._found is not None
        (places_M, gradient_ME), self._found = self._found, None
        columns = gradient_ME.split([self.items.width, 1], dim=1)
        for (name, table), gradient_MD in zip(self.items.tables.items(), columns, strict=False):
            step_MD = self._step(name, places_M, gradient_MD, number)
            _by_row(table).index_add_(0, places_M, step_MD, alpha=-rate)

    def discard(self) -> None:
        """Drop the gradients of the current batch."""
        self.items.taken.clear()
        self._found = None

    def _step(self, name: str, places_M: Tensor, gradient_MD: Tensor, number: int) -> Tensor:
        """By how much rows change at a rate of 1."""
        config = self._config
        square_M = gradient_MD.square().mean(dim=1)
        if config.name == "sgd":
            return gradient_MD
        if config.name == "adagrad":
            sum_R = self.state[f"sum:{name}"]
            sum_M = sum_R[places_M] + square_M
            sum_R[places_M] = sum_M
            return gradient_MD / (sum_M.sqrt() + _EPS["adagrad"]).unsqueeze(1)
        first_RD = _by_row(self.state[f"exp_avg:{name}"])
        second_R = self.state[f"exp_avg_sq:{name}"]
        first_MD = first_RD[places_M].lerp_(gradient_MD, 1 - config.beta1)
        second_M = second_R[places_M].lerp_(square_M, 1 - config.beta2)
        first_RD[places_M], second_R[places_M] = first_MD, second_M
        root_M = second_M.sqrt() / math.sqrt(1 - config.beta2**number) + _EPS["adam"]
        return first_MD / (1 - config.beta1**number) / root_M.unsqueeze(1)

    def _nothing(self, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(0, *shape, dtype=dtype, device=self.items.weight_RD.device)


def _by_row(table: Tensor) -> Tensor:
    """A view of a table as [R, D]; biases have one number in a row."""
    return table if table.dim() > 1 else table.unsqueeze(1)
