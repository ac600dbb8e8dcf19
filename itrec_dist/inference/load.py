"""Loads a trained model from a run directory, with the item table that its outputs refer to."""

from dataclasses import dataclass
from pathlib import Path

import torch

from itrec_dist import config
from itrec_dist.data import manifest as manifests
from itrec_dist.data import spec
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import arrays, reader
from itrec_dist.distributed.context import default_device
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.precision import autocast
from itrec_dist.engines.single import InferenceEngine
from itrec_dist.errors import CheckpointError, ConfigError, ShardsError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.tasks import TASKS
from itrec_dist.tasks.task import Task
from itrec_dist.training.config import RunConfig


@dataclass(frozen=True)
class Restored:
    """A model ready for inference, with the manifest and items of its training data."""

    run: RunConfig
    record: checkpoint_format.Record
    manifest: Manifest
    items: arrays.Items
    task: Task
    engine: InferenceEngine

    def top_items(
        self, batch: Batch, n: int, seen_ids_BS: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The top n unseen items of each window and their scores; see `Task.top_items`."""
        with torch.no_grad(), autocast(self.engine.device, self.run.engine.precision):
            return self.task.top_items(batch, n, seen_ids_BS)


def restore(run_folder: Path, name: str = BEST) -> Restored:
    """Load a run's checkpoint `name`, such as best, last or best-00000400, for inference.

    Raises:
        CheckpointError: there is no such run or checkpoint, or it is damaged.
    """
    folder = retention.find(RunDirectory.existing(run_folder).checkpoints, name)
    record = checkpoint_format.verify(
        folder, except_for={checkpoint_format.STATE_RECORD, checkpoint_format.WEIGHTS_FILE}
    )
    try:
        run = config.load(RunConfig, folder / checkpoint_format.CONFIG_FILE)
    except ConfigError as error:
        raise CheckpointError(
            f"{folder} has a configuration of another version: {error}"
        ) from error
    try:
        manifest = manifests.read(folder)
        items = reader.read_items(folder, manifest)
    except ShardsError as error:
        raise CheckpointError(f"the checkpoint in {folder} is damaged: {error}") from error
    task = TASKS[run.model.task](run.model, run.loss, spec.build(manifest, items))
    checkpoint_format.load_weights(folder, task.model)
    engine = InferenceEngine(task, EngineConfig(precision=run.engine.precision), default_device())
    engine.train(False)
    return Restored(run, record, manifest, items, task, engine)


def same_catalogue(restored: Restored, shards: Path) -> Manifest:
    """Check that `shards` have the items the model was trained on; returns their manifest.

    Raises:
        ShardsError: the catalogue, the window lengths or the user features differ.
    """
    other = manifests.read(shards)
    mine = restored.manifest
    items = reader.read_items(shards, other)
    if items.source_ids != restored.items.source_ids:
        raise ShardsError(
            f"{shards} has another catalogue ({other.num_items} items) than the model was trained "
            f"on ({mine.num_items} items, or in another order): window it from the same ratings "
            "with the same top_items"
        )
    for name in ("input_length", "target_length", "has_ratings"):
        if getattr(other, name) != getattr(mine, name):
            raise ShardsError(
                f"{shards} has {name}={getattr(other, name)}, the model was trained with "
                f"{getattr(mine, name)}: window it with the same settings"
            )
    if other.user_features != mine.user_features:
        raise ShardsError(
            f"{shards} has the user features {_named(other)}, the model was trained with "
            f"{_named(mine)}; features and values must be the same, in the same order: window it "
            "from the same users"
        )
    return other


def _named(manifest: Manifest) -> str:
    """User features in a few words: gender (2 values), age (7 values)."""
    features = manifest.user_features
    return ", ".join(f"{f.name} ({len(f.values)} values)" for f in features) or "none"
