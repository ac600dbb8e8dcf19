"""Masked histories: events are hidden, and a model predicts them from those on both sides.

In training they are drawn at random. To predict what follows a history, a hidden event is appended
to it, so that a history of L events has L + 1 positions in both.

Source: Sun et al., BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations
from Transformer (2019), sections 3.5 and 3.6.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from itrec_dist.data.schema import PAD, Batch


@dataclass(frozen=True)
class Masking:
    """How events are hidden: their ids become `mask_id`, and all else about them 0."""

    mask_id: int
    """No item's id, and not PAD."""
    probability: float
    """Share of the targets of a history that is hidden."""
    newest_alone: float
    """Share of the histories of which only the newest event is hidden, which is what a model is
    asked when it is judged. It is also hidden where chance hides none."""

    def asked(self, batch: Batch) -> Batch:
        """The batch with a hidden event after the newest one."""
        codes_BLG = batch.event_features_BLG
        return replace(
            batch,
            item_ids_BL=F.pad(batch.item_ids_BL, (0, 1), value=self.mask_id),
            ratings_BL=F.pad(batch.ratings_BL, (0, 1)),
            times_BL=None if batch.times_BL is None else F.pad(batch.times_BL, (0, 1)),
            event_features_BLG=None if codes_BLG is None else F.pad(codes_BLG, (0, 0, 0, 1)),
        )

    def drawn(self, batch: Batch) -> tuple[Batch, torch.Tensor]:
        """A training batch with some of its targets hidden, and what they were, else PAD: [B, L+1].

        The rows of the batch that comes back end with their last target.
        """
        assert batch.step_target_ids_BL is not None
        ids_BL = torch.cat([batch.item_ids_BL, batch.target_ids_BK[:, :1]], dim=1)
        ratings_BL = torch.cat([batch.ratings_BL, batch.target_ratings_BK[:, :1]], dim=1)
        times_BL = batch.times_BL
        if times_BL is not None and batch.target_time_B is not None:
            times_BL = torch.cat([times_BL, batch.target_time_B[:, None]], dim=1)
        codes_BLG = batch.event_features_BLG
        if codes_BLG is not None:
            codes_BLG = F.pad(codes_BLG, (0, 0, 0, 1))  # missing, unless the batch has them
            if batch.target_features_BG is not None:
                codes_BLG[:, -1] = batch.target_features_BG
        is_target_BL = F.pad(batch.step_target_ids_BL != PAD, (1, 0))
        is_hidden_BL = self._draw(is_target_BL)
        hidden = replace(
            batch,
            item_ids_BL=ids_BL.masked_fill(is_hidden_BL, self.mask_id),
            ratings_BL=ratings_BL.masked_fill(is_hidden_BL, 0),
            times_BL=None if times_BL is None else times_BL.masked_fill(is_hidden_BL, 0),
            event_features_BLG=None
            if codes_BLG is None
            else codes_BLG.masked_fill(is_hidden_BL[:, :, None], 0),
        )
        return hidden, ids_BL.masked_fill(~is_hidden_BL, PAD)

    def _draw(self, is_target_BL: torch.Tensor) -> torch.Tensor:
        """Which events are hidden; the newest of each row is a target."""
        B, L = is_target_BL.shape
        chances = torch.rand(B, L + 1, device=is_target_BL.device)
        is_hidden_BL = (chances[:, :L] < self.probability) & is_target_BL
        is_newest_alone_B1 = (chances[:, L:] < self.newest_alone) | ~is_hidden_BL.any(1, True)
        is_newest_L = torch.arange(L, device=is_target_BL.device) == L - 1
        return torch.where(is_newest_alone_B1, is_newest_L & is_target_BL, is_hidden_BL)
