"""Item embeddings of trained runs: read for similar items, or to initialise another model's."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from itrec_dist import config
from itrec_dist.data import manifest
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import arrays, reader
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.training.config import RunConfig


@dataclass(frozen=True)
class ItemEmbedding:
    """The item embedding of a run: vectors [V, D] of its items; row 0 is padding."""

    items: arrays.Items
    vectors_VD: torch.Tensor


def read(run_folder: Path, name: str = BEST) -> ItemEmbedding:
    """The item embedding of a run's checkpoint `name`, for any kind of model.

    Raises:
        CheckpointError: there is no such run or checkpoint, or its model has no item embedding.
    """
    folder = retention.find(RunDirectory.existing(run_folder).checkpoints, name)
    weights = checkpoint_format.read_weights(folder)
    try:
        model = config.load(RunConfig, folder / checkpoint_format.CONFIG_FILE).model
    except ConfigError as error:
        raise CheckpointError(
            f"{folder} has a configuration of another version: {error}"
        ) from error
    if model.item_embedding is None:
        raise CheckpointError(
            f"the model of the run in {run_folder} has no item embedding: give a run of a model "
            "that has one, such as item2vec"
        )
    items = reader.read_items(folder, manifest.read(folder))
    return ItemEmbedding(items, weights[model.item_embedding])


def check_start(run: RunConfig) -> None:
    """Check that the vectors fit the model that they initialise.

    Raises:
        CheckpointError: the vectors cannot be read.
        ConfigError: the model has no item embedding, or one of another width.
    """
    if run.item_vectors is None:
        return
    width = run.model.item_width
    if run.model.item_embedding is None or width is None:
        raise ConfigError(
            f"model.kind={run.model.kind} has no item embedding for item_vectors to initialise: "
            "leave item_vectors out"
        )
    given = read(run.item_vectors).vectors_VD.shape[1]
    if given != width:
        raise ConfigError(
            f"the vectors in {run.item_vectors} are {given} wide, the item embedding of this "
            f"model is {width} wide: train vectors of that width (item2vec has model.width), "
            "or change this model's"
        )


def warning(run: RunConfig, data: Manifest) -> str | None:
    """A line that says that the vectors were learned on other windows; None if they were not.

    What they have seen there, this run may hold out.

    Raises:
        CheckpointError: they cannot be read.
    """
    if run.item_vectors is None:
        return None
    folder = RunDirectory.existing(run.item_vectors).checkpoints / BEST
    learned_on = checkpoint_format.read_record(folder).fingerprint
    if learned_on == data.fingerprint:
        return None
    return (
        f"warning: the vectors in {run.item_vectors} were learned on other windows (fingerprint "
        f"{learned_on[:12]}) than this run's ({data.fingerprint[:12]}), and may have seen events "
        "that these hold out"
    )


@torch.no_grad()
def start(weight_VD: torch.Tensor, trained: ItemEmbedding, items: arrays.Items) -> int:
    """Copy the vectors of the items that both runs have; returns how many there are.

    They are scaled to the standard deviation of the initial weight, which the rest of the model is
    initialised for.
    """
    rows = {source_id: row for row, source_id in enumerate(trained.items.source_ids, 1)}
    shared = [(at, rows[s]) for at, s in enumerate(items.source_ids, 1) if s in rows]
    if not shared:
        return 0
    mine, theirs = (torch.tensor(column) for column in zip(*shared, strict=True))
    vectors = trained.vectors_VD[theirs].float()
    vectors = vectors * (weight_VD[1:].std() / vectors.std().clamp(min=1e-12))
    weight_VD[mine] = vectors.to(weight_VD.dtype)
    return len(shared)


def start_model(model: nn.Module, run: RunConfig, items: arrays.Items) -> None:
    """Initialise a model's item embedding as `item_vectors` of the run says.

    Raises:
        CheckpointError: no item of this run has a vector.
    """
    if run.item_vectors is None:
        return
    assert run.model.item_embedding is not None, "check_start raises"
    weight_VD = model.get_parameter(run.model.item_embedding)
    if not start(weight_VD, read(run.item_vectors), items):
        raise CheckpointError(
            f"the run in {run.item_vectors} has vectors of none of this run's items: train it on "
            "shards of the same source"
        )
