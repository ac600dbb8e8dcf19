"""Loads a trained model from a run directory, with the item table that its outputs refer to."""

from dataclasses import dataclass, replace
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
from itrec_dist.models.parts.sharded_items import MappedItems
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import parts, retention
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
        self, batch: Batch, n: int, seen_ids_BS: torch.Tensor,
        is_allowed_C: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The top n unseen items of each window and their scores; see `Task.top_items`."""
        with torch.no_grad(), autocast(self.engine.device, self.run.engine.precision):
            return self.task.top_items(batch, n, seen_ids_BS, is_allowed_C)


def restore(run_folder: Path, name: str = BEST) -> Restored:
    """Load a run's checkpoint `name`, such as best, last or best-00000400, for inference.

    Sharded item vectors stay in their files, which are mapped into memory.

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
    data = spec.build(manifest, items)
    if record.tables:
        data = replace(data, item_rows=parts.mapped(folder, record.files))
    task = TASKS[run.model.task](run.model, run.loss, data)
    checkpoint_format.load_weights(folder, task.model, is_whole=False)
    return Restored(run, record, manifest, items, task, _engine(run, task))


def whole(restored: Restored) -> Restored:
    """The same model with all item vectors in one place; `restored` itself if it has them so."""
    if not restored.record.tables:
        return restored
    mapped = next((m for m in restored.task.modules() if isinstance(m, MappedItems)), None)
    if mapped is None:
        return restored
    run, weights = restored.run, restored.task.model.state_dict()
    for name, padding in restored.record.tables.items():
        weights[name] = parts.whole(mapped.tables, name, padding)
    task = TASKS[run.model.task](run.model, run.loss, spec.build(restored.manifest, restored.items))
    task.model.load_state_dict(weights)
    return replace(restored, task=task, engine=_engine(run, task))


def _engine(run: RunConfig, task: Task) -> InferenceEngine:
    engine = InferenceEngine(task, EngineConfig(precision=run.engine.precision), default_device())
    engine.train(False)
    return engine
