"""Counts of targets and slices against a count target by target in plain Python."""

import numpy as np
import pytest
import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.first_times import NEVER, first_times
from itrec_dist.metrics import slices
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import RANKINGS, MetricChoice
from itrec_dist.metrics.ranking import Judge
from itrec_dist.metrics.slices import Slices, by_length, by_popularity
from itrec_dist.metrics.targets import TargetCounts, warning
from itrec_dist.models.rank import both_rankings
from tests.histories_factory import judged_rows

CPU = torch.device("cpu")
CUTOFFS = (1, 3)
ITEMS = 12
POPULARITY = torch.tensor([40, 0, 25, 10, 9, 8, 8, 7, 6, 4, 3, 0])
FIRST = torch.tensor([0, NEVER, 10, 20, 30, 40, 50, 60, 70, 80, 90, NEVER])
LONGEST = 8


def random_batch(seed: int, rows: int = 200) -> tuple[Batch, torch.Tensor]:
    """Rows with padding, fillers, repeated targets and targets that were seen, and scores."""
    g = torch.Generator().manual_seed(seed)
    inputs = torch.randint(1, ITEMS + 1, (rows, LONGEST), generator=g)
    length = torch.randint(1, LONGEST + 1, (rows, 1), generator=g)
    inputs[torch.arange(LONGEST) < LONGEST - length] = 0
    targets = torch.randint(0, ITEMS + 1, (rows, 3), generator=g)
    targets[::4, 1] = targets[::4, 0]
    batch = Batch(
        window_ids_B=torch.arange(rows), user_ids_B=torch.arange(rows),
        user_features_BF=torch.zeros(rows, 0), item_ids_BL=inputs,
        ratings_BL=torch.zeros(rows, LONGEST), target_ids_BK=targets,
        target_ratings_BK=torch.zeros(rows, 3),
        weight_B=(torch.rand(rows, generator=g) > 0.2).float(), denominator=1.0,
        target_time_B=torch.randint(0, 120, (rows,), generator=g), seen_ids_BS=inputs,
    )  # fmt: skip
    return batch, torch.rand(rows, ITEMS, generator=g)


def judge_of() -> Judge:
    sliced = Slices(POPULARITY, LONGEST, CUTOFFS, FIRST)
    return Judge(POPULARITY, 3, MetricChoice(CUTOFFS), sliced)


def counted(judge: Judge, batch: Batch, scores: torch.Tensor, rows: slice = slice(None)) -> Judge:
    part = Batch(**{n: v[rows] if torch.is_tensor(v) else v for n, v in vars(batch).items()})
    rankings = both_rankings([scores[rows]], judge.depth, part.seen_ids_BS, part.window_ids_B)
    judge.count(part, *rankings, part.seen_ids_BS)
    return judge


def length_name(length: int) -> str:
    return "1" if length == 1 else "2-4" if length < 5 else "5+"


def popularity_name(item: int) -> str:
    """40 of 120 targets are one item's, and the next 40 begin below that."""
    if item in (2, 12):
        return "never in training"
    if item == 1:
        return "most popular third (1 item)"
    # 25 + 10 + 9 reach from 40 to 84, and the last of them begins at 75
    return "middle third (3 items)" if item <= 5 else "least popular third (6 items)"


def age_name(item: int, time: int) -> str:
    first = int(FIRST[item - 1])
    if first == NEVER:
        return "never in training"
    if time < first:
        return "before its first training event"
    share = (time - first) / max(time, 1)
    ends = ((0.02, "up to 2% of the time"), (0.1, "2% to 10%"), (0.25, "10% to 25%"),
            (0.5, "25% to 50%"))  # fmt: skip
    return next((name for end, name in ends if share <= end), "over 50%")


def slow_twin(batch: Batch, scores: torch.Tensor):
    """The counts of targets, and (kind, name) -> [targets, found@1, @3 unmasked, and masked]."""
    totals, found = [0, 0, 0], {}
    for b in range(len(scores)):
        if not batch.weight_B[b]:
            continue
        seen = {i for i in batch.seen_ids_BS[b].tolist() if i}
        order = sorted(range(1, ITEMS + 1), key=lambda i, b=b: -scores[b, i - 1].item())
        unseen = [i for i in order if i not in seen]
        length = int((batch.item_ids_BL[b] > 0).sum())
        for item in {i for i in batch.target_ids_BK[b].tolist() if i}:
            totals[0] += 1
            totals[1] += POPULARITY[item - 1].item() == 0
            totals[2] += item in seen
            hits = [item in ranking[:k] for ranking in (order, unseen) for k in CUTOFFS]
            for key in (
                (slices.LENGTH, length_name(length)),
                (slices.POPULARITY, popularity_name(item)),
                (slices.AGE, age_name(item, int(batch.target_time_B[b]))),
            ):
                counts = found.setdefault(key, [0] * 5)
                for at, value in enumerate([1, *hits]):
                    counts[at] += value
    return TargetCounts(*totals), found


@pytest.mark.parametrize("seed", range(3))
def test_targets_and_slices_are_those_of_a_count_by_hand(seed):
    batch, scores = random_batch(seed)
    judgement = counted(judge_of(), batch, scores).judgement()
    totals, expected = slow_twin(batch, scores)
    assert judgement.targets == totals
    found = {
        (s.kind, s.name): [s.num_targets, *(s.found[g][k] for g in RANKINGS for k in CUTOFFS)]
        for s in judgement.slices
    }
    assert found == expected
    for kind in (slices.LENGTH, slices.POPULARITY, slices.AGE):
        sizes = [s.num_targets for s in judgement.slices if s.kind == kind]
        assert sum(sizes) == totals.num_targets


def test_two_workers_count_what_one_counts_and_a_judgement_survives_its_file():
    batch, scores = random_batch(5)
    whole = counted(judge_of(), batch, scores).judgement()
    parts = [counted(judge_of(), batch, scores, slice(r, None, 2)).state() for r in (0, 1)]
    summed = judge_of()
    summed.load(sum(parts))
    assert summed.judgement() == whole
    again = Judgement.from_json(whole.to_json())
    assert (again.targets, again.slices) == (whole.targets, whole.slices)
    assert again.groups == whole.groups


def test_without_times_there_is_no_slice_by_age():
    batch, scores = random_batch(1)
    sliced = Slices(POPULARITY, LONGEST, CUTOFFS)
    judge = counted(Judge(POPULARITY, 3, MetricChoice(CUTOFFS), sliced), batch, scores)
    assert {s.kind for s in judge.judgement().slices} == {slices.LENGTH, slices.POPULARITY}


@pytest.mark.parametrize(
    ("longest", "names"),
    [
        (1, ("1+",)),
        (4, ("1", "2+")),
        (20, ("1", "2-4", "5-9", "10-19", "20+")),
        (200, ("1", "2-4", "5-9", "10-19", "20-49", "50-99", "100-199", "200+")),
    ],
)
def test_the_slice_of_the_longest_inputs_has_no_upper_end(longest, names):
    sliced = by_length(longest, CPU)
    assert sliced.names == names
    assert len(sliced.numbers) == longest + 1
    assert sliced.numbers[longest] == len(names) - 1


def test_items_that_training_never_has_are_apart_whatever_their_number():
    sliced = by_popularity(torch.zeros(4, dtype=torch.int64))
    assert sliced.numbers.tolist() == [0] * 5
    assert by_popularity(torch.tensor([5])).numbers.tolist() == [0, 3]


def test_the_first_time_of_an_item_is_that_of_its_first_training_event():
    rows = judged_rows(40, longest=9, targets=1)
    found = first_times(rows, 60).tolist()
    for item in range(1, 61):
        times = rows.times.values[rows.item_ids.values == item]
        assert found[item - 1] == (times.min() if len(times) else NEVER)
    assert np.iinfo(np.int64).min == NEVER


def test_many_targets_that_were_seen_are_said_with_a_remedy():
    text = warning("test", TargetCounts(1000, 3, 853), "--seen")
    assert "85% of the targets of test (853 of 1,000)" in text
    assert text.endswith("choose --seen none")
    assert warning("test", TargetCounts(1000, 3, 100), "--seen") is None
    assert warning("test", None, "--seen") is None


@pytest.mark.parametrize(
    "broken",
    [
        {"targets": {"num_targets": 3}},
        {"targets": 5},
        {"slices": {"kind": "x"}},
        {"slices": [{"kind": "x", "name": "1", "num_targets": 2}]},
        {"slices": ["x"]},
    ],
)
def test_misshapen_counts_are_refused(broken):
    with pytest.raises(ValueError, match="misshapen"):
        Judgement.from_json({"loss": None, "num_windows": 3, **broken})
