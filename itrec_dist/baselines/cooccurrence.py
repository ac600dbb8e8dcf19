"""What followed the input items in other windows: item-to-item counts, made in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from itrec_dist import schema
from itrec_dist.baselines import Scorer, Training, refuse_too_large

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cooccurrence:
    """Scores an item by the training windows with an input item of this window, summed over it.

    The counts are plain (`sql/baselines/cooccurrence.sql`): popular items keep their lead.
    """

    def fit(self, training: Training) -> Scorer:
        """Count pairs of input and target over the training shards."""
        import torch

        from itrec_dist.database import Database

        num_items = training.manifest.num_items
        refuse_too_large("cooccurrence", num_items, matrices=1)
        files = [str(training.shards / f.name) for f in training.manifest.splits[schema.TRAIN]]
        with Database() as database:
            pairs = database.arrow("baselines/cooccurrence", files=files)
        counts_VC = torch.zeros(num_items + 1, num_items, dtype=torch.float64)
        input_ids, target_ids, counts = (
            torch.tensor(pairs[name].to_numpy())
            for name in ("input_id", "target_id", "num_windows")
        )
        counts_VC[input_ids, target_ids - 1] = counts.double()

        def score(item_ids_BL: Tensor) -> Tensor:
            return torch.nn.functional.embedding_bag(item_ids_BL, counts_VC, mode="sum")

        return score
