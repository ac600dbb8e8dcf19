"""Several targets at a position: the next events, those of a span of time, and nothing else."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards.arrays import Ragged
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.item_table import ItemTable, Queries
from tests.histories_factory import training_rows

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def rows_in_order(count: int = 25):
    """Training rows whose times do not fall."""
    rows = training_rows(count, longest=12, seed=4)
    times = np.concatenate([np.sort(rows.times[i]) for i in range(count)])
    return replace(rows, times=Ragged(times, rows.times.offsets))


ROWS = rows_in_order()
AHEAD = [Ahead(3), Ahead(2, within=9), Ahead(1, within=4), Ahead(50, within=12)]


def feed_of(use: str, ahead: Ahead, rows=ROWS) -> HistoryFeed:
    table = HistoryTable(rows, CPU, 1, ahead)
    return HistoryFeed(table, HistoryShare(8), CPU, use, 12 if use == "prefixes" else None)


def expected(row: int, place: int, ahead: Ahead) -> list[int]:
    """The targets of the position before `place`, from the definition."""
    items, times = ROWS.item_ids[row].tolist(), ROWS.times[row].tolist()
    limit = math.inf if ahead.within is None else times[place - 1] + ahead.within
    following = range(place, min(place + ahead.count, len(items)))
    return [items[p] for p in following if times[p] <= limit]


def wanted(ahead: Ahead) -> dict[tuple[int, int], list[int]]:
    """Row and place of every target -> what is to be predicted there."""
    places = [
        (row, p)
        for row in range(len(ROWS))
        for p in range(int(ROWS.num_context[row]), len(ROWS.item_ids[row]))
    ]
    return {at: found for at in places if (found := expected(*at, ahead))}


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_position_has_the_events_that_follow_it(ahead):
    feed, found = feed_of("steps", ahead), {}
    batches = list(feed.epoch((0, 1)))
    for batch in batches:
        further_BLK = batch.further_target_ids_BLK
        width = batch.item_ids_BL.shape[1]
        for b, row in enumerate(batch.window_ids_B.tolist()):
            for place in range(width) if batch.weight_B[b] else ():
                first = int(batch.step_target_ids_BL[b, place])
                more = [] if further_BLK is None else further_BLK[b, place].tolist()
                if first == PAD:
                    assert not any(more)
                    continue
                at = len(ROWS.item_ids[row]) - width + place
                found[row, at] = [first, *(i for i in more if i != PAD)]
    assert found == wanted(ahead)
    assert sum(batch.denominator for batch in batches) == feed.num_windows == len(found)


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_beginning_has_the_events_that_follow_it(ahead):
    feed, seen = feed_of("prefixes", ahead), set()
    at_all = wanted(ahead)
    assert feed.num_windows == len({row for row, _ in at_all})
    for epoch in range(150):
        for batch in feed.epoch((0, epoch)):
            for b, row in enumerate(batch.window_ids_B[batch.weight_B > 0].tolist()):
                place = int((batch.item_ids_BL[b] != PAD).sum())
                found = [i for i in batch.target_ids_BK[b].tolist() if i != PAD]
                assert found == at_all[row, place]
                assert (batch.target_ratings_BK[b] > 0).sum() == len(found)
                seen.add((row, place))
    assert seen == set(at_all)


def test_without_a_setting_batches_are_those_of_the_next_event():
    for use in ("steps", "prefixes"):
        plain, ahead = (feed_of(use, a).epoch((3, 1)) for a in (None, Ahead(1)))
        for one, other in zip(plain, ahead, strict=True):
            assert torch.equal(one.target_ids_BK, other.target_ids_BK)
            assert one.further_target_ids_BLK is other.further_target_ids_BLK is None


def test_softmax_takes_the_mean_over_the_events_ahead():
    queries = Queries(torch.tensor([[1.0, 0.0]]))
    table = ItemTable(torch.tensor([[0.0, 0.0], [math.log(2), 0.0], [math.log(5), 0.0]]))
    loss = SoftmaxConfig().per_query(queries, torch.tensor([[2, 3, PAD]]), table)
    assert loss.item() == pytest.approx(-(math.log(2 / 8) + math.log(5 / 8)) / 2)
