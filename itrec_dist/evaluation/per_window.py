"""Per-window metrics of a final run on the test split: the input of paired tests.

They are stored in the run directory in the order of the split's files, so that row i of two runs on
the same data is the same window. Their means are the metrics of the run's own evaluation.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.schema import PAD, TEST, Batch
from itrec_dist.data.shards import fetch
from itrec_dist.errors import CheckpointError
from itrec_dist.evaluation.checkpoints import feed_of
from itrec_dist.inference import fitting
from itrec_dist.inference.load import restore
from itrec_dist.models.output import Output, RankingOutput
from itrec_dist.storage import atomic

FILE = "test_windows.npz"
CUTOFF = 5
"""Length of the ranked list: that of the ITE paper's two accuracies."""


@dataclass(frozen=True)
class WindowFigures:
    """Metrics of each window of the test split, in the order of its files."""

    users: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    """Codes of the user's features, [windows, features], as the manifest names them."""
    targets: npt.NDArray[np.int64]
    """The first target: the next item."""
    unmasked: npt.NDArray[np.float64]
    """precision@5 over the whole catalogue."""
    masked: npt.NDArray[np.float64]
    """precision@5 without what the run's evaluation leaves out."""

    def values(self, masking: str, figure: str) -> npt.NDArray[np.float64]:
        """The precision or hit_rate of each window."""
        precision: npt.NDArray[np.float64] = getattr(self, masking)
        return (precision > 0).astype(np.float64) if figure == "hit_rate" else precision


def write(run: Path) -> None:
    """Evaluate the best checkpoint of a run per window, and write the result to its directory.

    A model that does not rank the catalogue gets a file without windows.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        OutputError: the file cannot be written.
        ShardsError: its shards have changed since.
    """
    restored = restore(run)
    columns: dict[str, list[torch.Tensor]] = {n: [] for n in WindowFigures.__dataclass_fields__}
    if restored.task.ranks:
        shards = fetch.local(restored.run.shards)
        fitting.refuse_wrong_checksum(restored, shards, restored.run.shards)
        feed = feed_of(restored, fitting.fit(restored, shards), TEST)
        restored.task.judge(restored.engine.device, restored.run.evaluation.choice)
        with torch.inference_mode():
            for batch in feed.epoch(None):
                for name, value in _columns(batch, restored.engine(batch)).items():
                    columns[name].append(value.cpu())
    arrays = {name: torch.cat(parts).numpy() for name, parts in columns.items() if parts}
    with atomic.new_file(run / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(run: Path) -> WindowFigures | None:
    """What `write` stored; None if the run's model does not rank, or there is no file.

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


def _columns(batch: Batch, output: Output) -> dict[str, torch.Tensor]:
    """The real windows, and the same metrics as `metrics.RankingMetrics`, not summed over them."""
    is_real_B = batch.weight_B > 0
    assert isinstance(output, RankingOutput)
    targets_BK = batch.target_ids_BK[is_real_B]
    is_target_BK = (targets_BK != PAD)[:, None]

    def precision(top_BN: torch.Tensor) -> torch.Tensor:
        is_hit_BNK = top_BN[is_real_B, :CUTOFF, None] == targets_BK[:, None]
        return (is_hit_BNK & is_target_BK).any(2).double().mean(1)

    return {
        "users": batch.user_ids_B[is_real_B].long(),
        "features": batch.user_features_BF[is_real_B].long(),
        "targets": targets_BK[:, 0].long(),
        "unmasked": precision(output.top_ids_BN),
        "masked": precision(output.unseen_ids_BN),
    }
