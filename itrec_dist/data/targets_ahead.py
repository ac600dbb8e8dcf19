"""What follows a place of a training history as its targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from itrec_dist.data.shards.arrays import HistoryRows


@dataclass(frozen=True)
class Ahead:
    """How far ahead the targets of a position lie in training."""

    count: int = 1
    """The next so many events at most."""
    within: int | None = None
    """Not later than this after the newest event of the position, in the unit of the times; None
    sets no limit."""


def first_targets(rows: HistoryRows, ahead: Ahead) -> npt.NDArray[np.bool_]:
    """Which events follow a place that has targets, [N]."""
    if rows.chooses_targets.any():
        return _of_chosen(rows, ahead)
    is_target = rows.is_learned
    if ahead.within is not None:
        is_target[1:] &= np.diff(rows.times.values) <= ahead.within
    return is_target


def targets_of_rows(rows: HistoryRows, ahead: Ahead) -> npt.NDArray[np.int64]:
    """How many places of each training row have targets, [B]."""
    is_target = first_targets(rows, ahead)
    before = np.concatenate([[0], np.cumsum(is_target)])
    counts: npt.NDArray[np.int64] = np.diff(before[rows.item_ids.offsets])
    return counts


def _of_chosen(rows: HistoryRows, ahead: Ahead) -> npt.NDArray[np.bool_]:
    """The same where not every event is learned from: any of the events ahead may be a target.

    A place in the context of a row may have some too, since no row before has both.
    """
    is_learned, times = rows.is_learned, rows.times.values
    found = np.zeros(len(is_learned), dtype=bool)
    place = np.arange(len(times))
    ends = np.repeat(rows.item_ids.offsets[1:], rows.item_ids.lengths)
    for step in range(min(ahead.count, int(rows.item_ids.lengths.max(initial=0)))):
        (near,) = np.nonzero(place + step < ends)
        is_near = is_learned[near + step]
        if ahead.within is not None:
            is_near &= times[near + step] - times[near - 1] <= ahead.within
        found[near] |= is_near
    found[rows.item_ids.offsets[:-1]] = False  # nothing stands before these
    return found
