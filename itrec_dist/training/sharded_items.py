"""Runs with engine.item_table=sharded: what goes with it, and how a worker's model is told.

The vectors are made by models/parts/sharded_items.py, updated by engines/row_updates.py and saved
by runs/checkpoints/parts.py.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from itrec_dist.data.spec import DataSpec
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.distributed.row_sharding import RowSharding
from itrec_dist.engines import row_updates
from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.training.config import RunConfig


def check(run: "RunConfig") -> None:
    """Check that nothing needs all item vectors in one place if they are sharded.

    Raises:
        ConfigError: names the setting that does.
    """
    engine, whole = run.engine, run.model.needs_whole_items
    if engine.item_table != "sharded":
        return
    row_updates.check(run.optimizer)
    for given, allowed in (
        (whole, "a transformer over histories or gru4rec, without item features, linear_width and "
         "temperature"),
        (f"loss={run.loss.kind}" if hasattr(run.loss, "memory") else None,
         "a loss that draws items, sampled_softmax or gbce"),
        (f"engine.compile={engine.compile}" if engine.compile != "none" else None, "none"),
        ("engine.precision=fp16" if engine.precision == "fp16" else None, "bf16 or fp32"),
        (f"item_vectors={run.item_vectors}" if run.item_vectors else None, "none"),
        (f"out={run.out}" if isinstance(run.out, Uri) else None,
         "a folder that all workers reach, since each writes its own part of a checkpoint"),
    ):  # fmt: skip
        if given is not None:
            raise ConfigError(
                f"engine.item_table=sharded does not work with {given}: give {allowed}, or "
                "engine.item_table=replicated"
            )


def assigned(spec: DataSpec, run: "RunConfig", context: WorkerContext) -> DataSpec:
    """The data as a worker's model is to be built for it."""
    if run.engine.item_table != "sharded":
        return spec
    return replace(spec, item_rows=RowSharding(context.rank, context.world_size))


def count_weights(task: nn.Module, run: "RunConfig") -> int:
    """The numbers in all weights of a task, which no engine has sharded yet; of all workers.

    Raises:
        ConfigError: item vectors should be sharded, and the model has none that could.
    """
    num_weights = sum(weight.numel() for weight in task.parameters())
    if run.engine.item_table != "sharded":
        return num_weights
    items = row_updates.items_of(task)
    if items is None:
        raise ConfigError(
            f"model.kind={run.model.kind} makes no item vectors that can be sharded (by "
            "models/parts/inputs.py): set engine.item_table=replicated"
        )
    return num_weights + items.num_items * (items.width + items.has_bias)
