"""What a model does with the time of the query, if it is told: how much later its target happens.

What people do on coming back differs from what they do next within a visit, and few events of a
training split follow a long pause. So a long pause begins as what is known of shorter ones, to
which each bucket of time adds its own.
"""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.models.parts.pairs import NUM_BUCKETS, next_times, time_buckets


class CumulativeVectors(nn.Module):
    """A vector per bucket of time: the sum of the increments of all buckets up to it.

    They begin at zero. Buckets that training never saw have the vectors of the last one below that
    it did.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.increments = nn.Parameter(torch.zeros(NUM_BUCKETS, width))

    def forward(self, buckets_BL: torch.Tensor) -> torch.Tensor:
        """The vectors, [B, L, D]."""
        return F.embedding(buckets_BL, self.increments.cumsum(0))


class QueryTime(nn.Module):
    """A query changed by its time: multiplied by one vector of it, with another one added.

    The products let what a history says count for less after a long pause, and the sum lets the
    catalogue's order depend on the time alone. At first both leave the query as it is.

    Source: the products are those of Beutel et al., Latent Cross: Making Use of Context in
    Recurrent Recommender Systems (2018).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = CumulativeVectors(width)
        self.shift = CumulativeVectors(width)

    def forward(self, query_BLD: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The queries of all positions, [B, L, D]; those of padding mean nothing."""
        buckets_BL, _ = query_buckets(batch)
        scale_BLD = 1 + self.scale(buckets_BL)
        changed_BLD: torch.Tensor = query_BLD * scale_BLD + self.shift(buckets_BL)
        return changed_BLD


def query_buckets(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The bucket of the time from each event to the next, and which event is the last, [B, L].

    The event after the last one is the target. A bucket means nothing where either is padding.
    """
    assert batch.times_BL is not None, "the model's settings say uses_times"
    next_BL, is_last_BL = next_times(batch)
    return time_buckets((next_BL - batch.times_BL).abs_()), is_last_BL
