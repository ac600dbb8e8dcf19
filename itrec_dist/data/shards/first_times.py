"""When training first has each item."""

import numpy as np

from itrec_dist.data.shards.arrays import HistoryRows, Int64

NEVER = int(np.iinfo(np.int64).min)
"""The first time of an item that training never has."""


def first_times(rows: HistoryRows, num_items: int) -> Int64:
    """The time of the first event of each item among training histories, [C]; NEVER without one."""
    latest = np.iinfo(np.int64).max
    times_V = np.full(num_items + 1, latest, dtype=np.int64)
    np.minimum.at(times_V, rows.item_ids.values, rows.times.values)
    is_absent_V = np.bincount(rows.item_ids.values, minlength=num_items + 1) == 0
    return np.where(is_absent_V, NEVER, times_V)[1:]
