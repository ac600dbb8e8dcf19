"""Batches of histories: every row once, seeded, alike on any number of workers, within budget."""

from collections import Counter

import numpy as np
import pytest
import torch

from itrec_dist.data.history_feeds import (
    HistoryFeed,
    HistoryShare,
    HistoryTable,
    as_judged,
    as_windows,
)
from itrec_dist.data.schema import PAD
from tests.histories_factory import judged_rows, training_rows

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
ROWS = training_rows(60, longest=30, seed=3)


def feeds(rows=ROWS, use="steps", width=None, world=1, **share) -> list[HistoryFeed]:
    table = HistoryTable(rows, CPU, 1)
    settings = {"batch_size": 8, "world_size": world, **share}
    return [
        HistoryFeed(table, HistoryShare(rank=rank, **settings), CPU, use, width)
        for rank in range(world)
    ]


def real(batch):
    return batch.window_ids_B[batch.weight_B > 0].tolist()


def targets_of(batch) -> list[tuple[int, int, int]]:
    """Row, distance from the end of the row and item of every target."""
    ids = batch.step_target_ids_BL
    found = ((ids != PAD) & (batch.weight_B > 0)[:, None]).nonzero().tolist()
    width = ids.shape[1]
    return [(int(batch.window_ids_B[b]), width - place, int(ids[b, place])) for b, place in found]


@pytest.mark.parametrize("share", [{}, {"batch_tokens": 64}, {"batch_tokens": 7}])
@pytest.mark.parametrize("seed", [(0, 1), (5, 3)])
def test_every_target_is_learned_once_per_epoch_after_the_events_before_it(share, seed):
    (feed,) = feeds(**share)
    batches = list(feed.epoch(seed))
    assert len(batches) == feed.steps_per_epoch
    found = Counter(t for batch in batches for t in targets_of(batch))
    wanted = Counter()
    for i in range(len(ROWS)):
        events, length = ROWS.item_ids[i].tolist(), len(ROWS.item_ids[i])
        places = range(int(ROWS.num_context[i]), length)
        wanted.update((int(ROWS.window_ids[i]), length - p, events[p]) for p in places)
    assert found == wanted
    assert sum(batch.denominator for batch in batches) == feed.num_windows == wanted.total()
    for batch in batches:
        for b, row in enumerate(batch.window_ids_B.tolist()):
            shown = [i for i in batch.item_ids_BL[b].tolist() if i != PAD]
            assert shown == ROWS.item_ids[row][:-1].tolist()
            assert batch.item_ids_BL[b, -1] != PAD
            assert batch.times_BL[b, -1] == ROWS.times[row][-2]


@pytest.mark.parametrize("tokens", [40, 64, 300])
def test_batches_keep_to_the_budget_with_little_padding(tokens):
    rows = training_rows(400, longest=30, seed=1)
    (feed,) = feeds(rows, batch_tokens=tokens)
    batches = list(feed.epoch((0, 1)))
    assert all(batch.item_ids_BL.numel() <= max(tokens, 30) for batch in batches)
    shown = sum(int((batch.item_ids_BL != PAD).sum()) for batch in batches)
    assert shown > 0.8 * sum(batch.item_ids_BL.numel() for batch in batches)
    assert len({len(batch.weight_B) for batch in batches}) > 1


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("use", ["steps", "prefixes"])
@pytest.mark.parametrize("share", [{"batch_tokens": 64}, {"batch_tokens": 64, "multiple": 2}])
def test_global_batches_do_not_depend_on_the_number_of_workers(world, use, share):
    (alone,) = feeds(use=use, width=30 if use == "prefixes" else None, **share)
    parts = feeds(use=use, width=30 if use == "prefixes" else None, world=world, **share)
    steps = zip(*(feed.epoch((2, 1)) for feed in parts), strict=True)
    for whole, step in zip(alone.epoch((2, 1)), steps, strict=True):
        assert [i for batch in step for i in real(batch)] == real(whole)
        assert {batch.item_ids_BL.shape for batch in step} == {step[0].item_ids_BL.shape}
        assert len(step[0].weight_B) % share.get("multiple", 1) == 0
        assert sum(batch.denominator for batch in step) == pytest.approx(whole.denominator)
        ids = [batch.target_ids_BK[batch.weight_B > 0] for batch in step]
        assert torch.equal(torch.cat(ids), whole.target_ids_BK[whole.weight_B > 0])


@pytest.mark.parametrize("use", ["steps", "prefixes"])
def test_an_epoch_goes_on_where_it_stopped_and_the_next_one_is_another(use):
    (feed,) = feeds(use=use, batch_tokens=64)
    first = [b.item_ids_BL for b in feed.epoch((1, 1))]
    again = [b.item_ids_BL for b in feed.epoch((1, 1), skip=4)]
    assert len(again) == len(first) - 4 > 0
    assert all(torch.equal(a, b) for a, b in zip(first[4:], again, strict=True))
    ids = [[real(b) for b in feed.epoch((1, epoch))] for epoch in (1, 2)]
    assert ids[0] != ids[1]
    assert len(ids[0]) == len(ids[1])
    for epoch in ids:
        assert sorted(i for batch in epoch for i in batch) == list(range(60))


def test_prefixes_are_of_every_length_and_change_with_the_epoch():
    (feed,) = feeds(use="prefixes", width=30)
    seen = {row: set() for row in range(len(ROWS))}
    for epoch in range(300):
        for batch in feed.epoch((0, epoch)):
            for b, row in enumerate(real(batch)):
                shown = [i for i in batch.item_ids_BL[b].tolist() if i != PAD]
                events = ROWS.item_ids[row].tolist()
                assert shown == events[: len(shown)]
                assert batch.target_ids_BK[b].tolist() == [events[len(shown)]]
                seen[row].add(len(shown))
    for row, lengths in seen.items():
        whole = range(int(ROWS.num_context[row]), len(ROWS.item_ids[row]))
        assert lengths == set(whole)


def test_judged_rows_come_by_length_with_targets_and_what_was_seen():
    rows = judged_rows(21, longest=9, targets=3)
    table = HistoryTable(rows, CPU, 3)
    (feed,) = [HistoryFeed(table, HistoryShare(8), CPU, "judged")]
    batches = list(feed.epoch(None))
    assert len(batches) == feed.steps_per_epoch == 3
    lengths = rows.item_ids.lengths
    by_length = sorted(range(21), key=lambda row: lengths[row])
    assert [i for b in batches for i in real(b)] == by_length
    for batch in batches:
        assert batch.item_ids_BL.shape[1] == lengths[real(batch)].max()
        for b, row in enumerate(real(batch)):
            for name, ragged, width in (
                ("target_ids_BK", rows.target_ids, 3),
                ("seen_ids_BS", rows.seen_ids, batch.seen_ids_BS.shape[1]),
            ):
                own = ragged[row].tolist()
                assert getattr(batch, name)[b].tolist() == own + [PAD] * (width - len(own))
            assert batch.item_ids_BL[b, -1] == rows.item_ids[row][-1]
            assert batch.target_time_B[b] == rows.target_times[row][0]


def test_training_rows_are_judged_on_their_last_event():
    judged = as_judged(ROWS)
    for i in range(len(ROWS)):
        events = ROWS.item_ids[i].tolist()
        assert judged.item_ids[i].tolist() == judged.seen_ids[i].tolist() == events[:-1]
        assert judged.target_ids[i].tolist() == events[-1:]
    windows = as_windows(judged.take(np.array([4, 2])), 40, 1)
    assert windows.item_ids.shape == (2, 40)
    shown = windows.item_ids[1]
    assert shown[shown != PAD].tolist() == ROWS.item_ids[2][:-1].tolist()
