"""Item-to-item counts, computed in SQL: which targets followed the input items in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.data import schema
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import NextItemsTrainingData, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cooccurrence:
    """The baseline `cooccurrence`: number of training windows with an input item and a target.

    The score is the sum, over the inputs, of the counts of
    `sql/next_items/baselines/cooccurrence.sql`, over the item's number of occurrences as a training
    target to the power of `damping`.
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
        """Count pairs of input and target in the training shards."""
        import torch

        from itrec_dist.data.database import Database

        num_items = training.manifest.num_items
        files = [training.shards / f.name for f in training.manifest.splits[schema.TRAIN]]
        with Database() as database:
            pairs = database.arrow("next_items/baselines/cooccurrence", files=files)
        counts_VC = torch.zeros(num_items + 1, num_items, dtype=torch.float64)
        input_ids, target_ids, counts = (
            torch.tensor(pairs[name].to_numpy())
            for name in ("input_id", "target_id", "num_windows")
        )
        counts_VC[input_ids, target_ids - 1] = counts.double()
        popularity_C = torch.tensor(training.items.num_train_targets, dtype=torch.float64)
        counts_VC /= popularity_C.clamp(min=1) ** self.damping

        def score(item_ids_BL: Tensor) -> Tensor:
            return torch.nn.functional.embedding_bag(item_ids_BL, counts_VC, mode="sum")

        return score
