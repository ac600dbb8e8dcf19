"""What blocks know about each pair of positions: computed once per batch, shared by all blocks."""

from dataclasses import dataclass

import torch

from itrec_dist.data.schema import PAD, Batch

_BUCKET = 0.301  # width of a bucket of time in the natural logarithm, a factor of 1.35

NUM_BUCKETS = 128
"""Buckets of time; the last one begins at e^38, in whatever unit."""


@dataclass
class Pairs:
    """The pairs of a batch: a row is the event that looks, a column the one that is seen."""

    mask_B1LL: torch.Tensor | None = None
    """Whether one may see the other; None where events stand first and see all earlier ones."""
    buckets_BLL: torch.Tensor | None = None
    """The time between them, as `time_buckets`; None for blocks that ignore it."""


def see_all(batch: Batch) -> Pairs:
    """Every event sees every event, and padding itself, since softmax needs one."""
    ids_BL = batch.item_ids_BL
    itself_LL = torch.eye(ids_BL.shape[1], dtype=torch.bool, device=ids_BL.device)
    return Pairs(mask_B1LL=((ids_BL != PAD).unsqueeze(1) | itself_LL).unsqueeze(1))


def see_earlier(batch: Batch) -> Pairs:  # noqa: ARG001
    """Events, which stand first, see themselves and earlier ones."""
    return Pairs()


def see_times(batch: Batch) -> Pairs:
    """As `see_earlier`, with the time from the event that is seen to the one that looks."""
    assert batch.times_BL is not None, "the model's settings say uses_times"
    return Pairs(buckets_BLL=time_buckets(_gaps(batch.times_BL, batch.times_BL)))


def see_times_of_query(batch: Batch) -> Pairs:
    """As `see_times`, but up to the event that is to be predicted: the one after that which looks.

    The time of that event must be known: where the user is there, it is now.
    """
    assert batch.times_BL is not None, "the model's settings say uses_times"
    next_BL, _ = next_times(batch)
    return Pairs(buckets_BLL=time_buckets(_gaps(next_BL, batch.times_BL)))


def next_times(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The time of the event after each one, and which event is a row's last, [B, L].

    Padding may stand on either side; the event after the last one is the target.
    """
    times_BL, is_event_BL = batch.times_BL, batch.item_ids_BL != PAD
    assert times_BL is not None, "the model's settings say uses_times"
    assert batch.target_time_B is not None, "the model's settings say uses_time_of_query"
    follows_BL = is_event_BL.roll(-1, dims=1)
    follows_BL[:, -1] = False
    is_last_BL = is_event_BL & ~follows_BL
    next_BL = torch.where(is_last_BL, batch.target_time_B.unsqueeze(1), times_BL.roll(-1, dims=1))
    return next_BL, is_last_BL


def time_buckets(gaps: torch.Tensor) -> torch.Tensor:
    """The bucket of each gap in time, int32 below `NUM_BUCKETS`: log(gap) / 0.301, rounded down.

    Gaps are int64, in the source's unit. Gaps of 0 and 1 share a bucket, so that events without a
    time, or with their order for a time, have buckets too.

    Source: the code of Zhai et al., Actions Speak Louder than Words (2024).
    """
    logs = gaps.to(torch.float32).clamp_(min=1.0).log_().mul_(1 / _BUCKET)
    return logs.to(torch.int32).clamp_(max=NUM_BUCKETS - 1)


def _gaps(at_BL: torch.Tensor, seen_BL: torch.Tensor) -> torch.Tensor:
    return (at_BL.unsqueeze(2) - seen_BL.unsqueeze(1)).abs_()
