"""A final run's figures window by window, on the test split: what paired tests compare.

Kept beside the run, in the order of the split's files, so that row i of two runs on the same data
is the same window. Their means are the figures of the run's own judgement.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data import feeds
from itrec_dist.data.batches import Share
from itrec_dist.data.schema import PAD, TEST, Batch
from itrec_dist.data.shards import fetch
from itrec_dist.data.shards.splits import read_split
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import CheckpointError
from itrec_dist.inference import fitting
from itrec_dist.inference.load import restore
from itrec_dist.models.output import Output, RankingOutput
from itrec_dist.storage import atomic

FILE = "test_windows.npz"
CUTOFF = 5
"""Length of the list that is looked at: that of the paper's two accuracies."""


@dataclass(frozen=True)
class WindowFigures:
    """Per window of the test split, in the order of its files."""

    users: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    """Codes of the user's features, [windows, features], as the manifest names them."""
    targets: npt.NDArray[np.int64]
    """The first target: the item that came next."""
    unmasked: npt.NDArray[np.float64]
    """precision@5 over the whole catalogue."""
    masked: npt.NDArray[np.float64]
    """precision@5 with the items of the input left out."""

    def values(self, masking: str, figure: str) -> npt.NDArray[np.float64]:
        """Precision or hit_rate of each window."""
        precision: npt.NDArray[np.float64] = getattr(self, masking)
        return (precision > 0).astype(np.float64) if figure == "hit_rate" else precision


def write(run: Path) -> None:
    """Judge the best checkpoint of a run window by window, and keep it in the run directory.

    A model that does not rank the catalogue gets a file without windows.

    Raises:
        CheckpointError: the run cannot be restored.
        OutputError: the place cannot be written.
        ShardsError: its shards are other ones by now.
    """
    restored = restore(run)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in WindowFigures.__dataclass_fields__}
    if restored.task.ranks:
        context = LocalContext(restored.engine.device, restored.run.cluster.threads)
        shards = fetch.local(restored.run.shards)
        fitting.refuse_other(restored, shards, restored.run.shards)
        windows = read_split(
            shards, restored.manifest, TEST, context.blocks, times=restored.run.model.uses_times
        )
        share = Share(restored.run.evaluation.batch_size)
        feed = feeds.cached(windows, share, context.device)
        found["users"].append(torch.as_tensor(windows.user_ids, dtype=torch.int64))
        features = torch.as_tensor(windows.user_features, dtype=torch.int64)
        found["features"].append(features)
        found["targets"].append(torch.as_tensor(windows.target_ids[:, 0], dtype=torch.int64))
        with torch.inference_mode():
            for batch in feed.epoch(None):
                for name, value in _figures(batch, restored.engine(batch)).items():
                    found[name].append(value.cpu())
    arrays = {name: torch.cat(parts).numpy() for name, parts in found.items() if parts}
    with atomic.new_file(run / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(run: Path) -> WindowFigures | None:
    """What `write` kept; None where the run's model does not rank, or nothing was kept.

    Raises:
        CheckpointError: the file is damaged.
    """
    place = run / FILE
    if not place.is_file():
        return None
    try:
        with np.load(place) as content:
            if not content.files:
                return None
            return WindowFigures(**{n: content[n] for n in WindowFigures.__dataclass_fields__})
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{place} is damaged ({error}): remove it and resume") from error


def _figures(batch: Batch, output: Output) -> dict[str, torch.Tensor]:
    """As `metrics.RankingMetrics` counts them, not summed over windows."""
    is_real_B = batch.weight_B > 0
    assert isinstance(output, RankingOutput)
    rankings = {"unmasked": output.top_ids_BN, "masked": output.unseen_ids_BN}
    rankings = {name: top_BN[is_real_B, :CUTOFF] for name, top_BN in rankings.items()}
    targets_BK = batch.target_ids_BK[is_real_B]
    is_target_BK = (targets_BK != PAD)[:, None]
    return {
        name: ((top_BN[:, :, None] == targets_BK[:, None]) & is_target_BK).any(2).double().mean(1)
        for name, top_BN in rankings.items()
    }
