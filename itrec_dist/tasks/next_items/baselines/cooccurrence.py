"""Item-to-item counts: which targets followed the input items in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from itrec_dist.data import schema
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.data.training_sequences import Sequences
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer, summed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cooccurrence(Baseline):
    """The baseline `cooccurrence`: number of training windows with an input item and a target.

    The score is the sum, over the inputs, of the counts of
    `sql/next_items/baselines/cooccurrence.sql`, over the item's number of occurrences as a training
    target to the power of `damping`. Each target of a history counts with everything before it.
    """

    matrices: ClassVar[int] = 2

    damping: float = 0.0
    """0 to 1: 0 leaves the counts unchanged, which favours popular items; 1 divides by popularity.
    On MovieLens 1M, 0.5 is best of 0, 0.25, 0.5, 0.75 and 1."""

    def __post_init__(self) -> None:
        """Refuse an impossible damping."""
        if not 0 <= self.damping <= 1:
            raise ConfigError(f"cooccurrence.damping is {self.damping}, allowed is 0 to 1")

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Count pairs of input and target in training."""
        import torch

        num_items = training.manifest.num_items
        if isinstance(training.rows, Windows):
            counts = _in_windows(training)
        else:
            counts = _in_histories(training.sequences, num_items)
        counts_VC = torch.from_numpy(counts)
        popularity_C = torch.tensor(training.items.num_train_targets, dtype=torch.float64)
        counts_VC /= popularity_C.clamp(min=1) ** self.damping

        def score(inputs: Inputs) -> Tensor:
            return summed(inputs.item_ids_BL, counts_VC)

        return score


def _in_windows(training: NextItemsTrainingData) -> npt.NDArray[np.float64]:
    """Number of windows with an input item and a target, [V, C], counted in SQL."""
    from itrec_dist.data.database import Database

    num_items = training.manifest.num_items
    files = [training.shards / f.name for f in training.manifest.splits[schema.TRAIN]]
    with Database() as database:
        pairs = database.arrow("next_items/baselines/cooccurrence", files=files)
    counts_VC = np.zeros((num_items + 1, num_items))
    input_ids, target_ids = pairs["input_id"].to_numpy(), pairs["target_id"].to_numpy()
    counts_VC[input_ids, target_ids - 1] = pairs["num_windows"].to_numpy()
    return counts_VC


def _in_histories(sequences: Sequences, num_items: int) -> npt.NDArray[np.float64]:
    """Number of events of an item with another one anywhere before it, [V, C]."""
    ids = sequences.item_ids.values.astype(np.int64)
    counts_VC = np.zeros((num_items + 1, num_items))
    repeat_in = sequences.next_of_item()
    for distance, earlier, later in sequences.pairs():
        is_counted = distance <= repeat_in[earlier]  # an item before the target counts once
        if sequences.is_counted is not None:
            is_counted &= sequences.is_counted[later]
        places = ids[earlier] * num_items + ids[later] - 1
        np.add.at(counts_VC.reshape(-1), places[is_counted], 1)
    return counts_VC
