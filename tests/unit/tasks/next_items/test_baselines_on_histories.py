"""Baselines on whole histories, against slow programs that are written from the definitions."""

import itertools
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.data.training_sequences import Sequences
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.baselines import is_installed
from itrec_dist.tasks.next_items import baselines
from itrec_dist.tasks.next_items.baselines.ials import Ials
from itrec_dist.tasks.next_items.baselines.item_knn import ItemKnn
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.scoring import Inputs
from tests.drawn_ties import key
from tests.shards_factory import random_windows
from tests.windowing_reference import Event

CONFIG = HistoryConfig(max_length=3, num_shards=2)
ITEMS = [f"i{n}" for n in range(9)]
DAY = 86_400
ON_HISTORIES = [n for n, kind in baselines.BASELINES.items() if "histories" in kind.samples]
INPUTS = Inputs(
    torch.tensor([[0, 0, 0, 4], [0, 2, 9, 2], [5, 6, 7, 8], [1, 1, 1, 1]]),
    torch.tensor([3 * DAY, 10 * DAY, 10**9, 0]),
)


def random_events(seed: int = 0) -> list[Event]:
    """Events of 14 users, in the order of a file; items repeat, and so do times."""
    rng = random.Random(seed)
    return [
        Event(f"u{user}", rng.choice(ITEMS[: 9 - user % 3]), rng.randrange(20) * DAY, 1)
        for user in range(14)
        for _ in range(rng.choice([1, 2, 3, 6, 12]))
    ]


EVENTS = random_events()


def of_users(events: list[Event]) -> dict[str, list[Event]]:
    ordered: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda e: e.time):
        ordered.setdefault(event.user, []).append(event)
    return ordered


def written(folder, events: list[Event], config: HistoryConfig = CONFIG):
    folder.mkdir(exist_ok=True)
    lines = ["user,item,timestamp", *(f"{e.user},{e.item},{e.time}" for e in events)]
    (folder / "events.csv").write_text("\n".join(lines))
    columns = TableConfig(columns=TableColumns())
    histories("table", folder / "events.csv", folder / "shards", config, columns)
    return folder / "shards"


def trained(shards) -> baselines.NextItemsTrainingData:
    return baselines.NextItemsBaselines().training(shards, manifests.read(shards))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return written(tmp_path_factory.mktemp("histories"), EVENTS)


@pytest.fixture(scope="module")
def training(shards):
    return trained(shards)


@pytest.fixture(scope="module")
def sequences(training) -> list[list[tuple[int, int]]]:
    """The training history of each user who has one, (item id, time), from the events alone."""
    ids = {item: n for n, item in enumerate(training.items.source_ids, 1)}
    found = []
    for events in of_users(EVENTS).values():
        kept = events[:-2] if len(events) > 2 else events
        if len(kept) > 1:
            found.append([(ids[e.item], e.time) for e in kept])
    return found


def scores_of(training, name: str, **settings) -> np.ndarray:
    return baselines.BASELINES[name](**settings).fit(training)(INPUTS).numpy()


def multi_hot(ids) -> np.ndarray:
    row = np.zeros(9)
    row[[i - 1 for i in set(ids) if i]] = 1
    return row


def decayed(ids, decay: float) -> np.ndarray:
    row = np.zeros(9)
    for age, item in enumerate(reversed(ids)):
        row[item - 1] += decay**age if item else 0
    return row


# ---------------------------------------------------------------------------- what is fitted to


@pytest.mark.parametrize(("max_length", "overlap"), [(1, 0), (5, 2)])
def test_histories_are_whole_again_however_they_were_cut(tmp_path, sequences, max_length, overlap):
    config = replace(CONFIG, max_length=max_length, overlap=overlap)
    found = trained(written(tmp_path, EVENTS, config)).sequences
    lists = [found.item_ids[n].tolist() for n in range(len(found.item_ids))]
    assert sorted(lists) == sorted([item for item, _ in events] for events in sequences)
    assert len(set(found.user_ids.tolist())) == len(lists)
    targets = zip(found.target_ids[:, 0].tolist(), found.target_times.tolist(), strict=True)
    assert sorted(targets) == sorted(event for events in sequences for event in events[1:])


def test_a_window_is_its_inputs_and_its_targets():
    windows = random_windows(20, target_length=2)
    found = Sequences.of(windows)
    for n, (inputs, targets) in enumerate(zip(windows.item_ids, windows.target_ids, strict=True)):
        assert found.item_ids[n].tolist() == [i for i in [*inputs, *targets] if i]
    assert np.array_equal(found.target_ids, windows.target_ids)


# ---------------------------------------------------------------------------- scores


def test_linear_history_by_hand(tmp_path):
    """Two users go from 1 to x, and their last two events are held out."""
    events = [Event(u, i, t, 1) for u, items in (("a", "1xyy"), ("b", "1xyy")) for t, i in
              enumerate(items)]  # fmt: skip
    made = trained(written(tmp_path, events))
    ids = {item: n for n, item in enumerate(made.items.source_ids, 1)}
    score = baselines.BASELINES["linear_history"](penalty=2.0, decay=0.5).fit(made)
    found = score(Inputs(torch.tensor([[0, ids["1"]], [ids["1"], ids["x"]]]), torch.zeros(2)))
    # x follows 1 twice, so the coefficient is 2 / (2 + penalty).
    assert found[:, ids["x"] - 1].tolist() == pytest.approx([0.5, 0.25])
    assert found[:, ids["y"] - 1].tolist() == [0, 0]


@pytest.mark.parametrize(("decay", "penalty"), [(0.8, 50.0), (0.3, 0.7), (1.0, 5.0)])
def test_linear_history_equals_the_dense_closed_form(training, sequences, decay, penalty):
    inputs, targets = [], []
    for events in sequences:
        ids = [item for item, _ in events]
        for place in range(1, len(ids)):
            inputs.append(decayed(ids[:place], decay))
            targets.append(multi_hot([ids[place]]))
    x, y = np.array(inputs), np.array(targets)
    solved = np.linalg.inv(x.T @ x + penalty * np.eye(9)) @ x.T @ y
    expected = np.array([decayed(row, decay) for row in INPUTS.item_ids_BL.tolist()]) @ solved
    found = scores_of(training, "linear_history", decay=decay, penalty=penalty)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_cooccurrence_counts_each_earlier_item_once_per_target(training, sequences):
    counts = np.zeros((10, 9))
    for events in sequences:
        ids = [item for item, _ in events]
        for place, target in enumerate(ids):
            for item in set(ids[:place]):
                counts[item, target - 1] += 1
    expected = [[counts[row, c].sum() for c in range(9)] for row in INPUTS.item_ids_BL.tolist()]
    np.testing.assert_array_equal(scores_of(training, "cooccurrence"), expected)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_ease_regresses_every_item_on_the_others(training, sequences, penalty):
    """Column by column as a constrained ridge regression, which Steck's formula solves at once."""
    x = np.array([multi_hot([item for item, _ in events]) for events in sequences])
    weights = np.zeros((9, 9))
    for item in range(9):
        others = [n for n in range(9) if n != item]
        gram = x[:, others].T @ x[:, others] + penalty * np.eye(8)
        weights[others, item] = np.linalg.solve(gram, x[:, others].T @ x[:, item])
    expected = np.array([multi_hot(row) for row in INPUTS.item_ids_BL.tolist()]) @ weights
    found = scores_of(training, "ease", penalty=penalty)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("neighbours", "shrink"), [(2, 0.0), (3, 4.0), (100, 1.5)])
def test_item_knn_sums_the_similarities_to_the_nearest(
    training, sequences, monkeypatch, neighbours, shrink
):
    monkeypatch.setattr("itrec_dist.tasks.next_items.baselines.item_knn.ITEMS_PER_BLOCK", 4)
    users = {
        i: {n for n, events in enumerate(sequences) if i in dict(events)} for i in range(1, 10)
    }
    nearest: dict[int, dict[int, float]] = {}
    for item in range(1, 10):
        similar = {
            other: len(users[item] & users[other])
            / ((len(users[item]) * len(users[other])) ** 0.5 + shrink)
            for other in range(1, 10)
            if other != item and users[item] & users[other]
        }
        best = sorted(similar, key=lambda i: (-similar[i], i))[:neighbours]
        nearest[item] = {i: similar[i] for i in best}
    expected = [
        [sum(nearest[i].get(c, 0.0) for i in set(row) if i) for c in range(1, 10)]
        for row in INPUTS.item_ids_BL.tolist()
    ]
    found = ItemKnn(neighbours, shrink).fit(training)(INPUTS)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_recent_popularity_counts_the_latest_targets(training, sequences):
    times = sorted((time for events in sequences for _, time in events[1:]), reverse=True)
    found = scores_of(training, "recent_popularity", share=0.25)
    kept = int(np.ceil(len(times) / 4))
    later = [item for events in sequences for item, t in events[1:] if t > times[kept - 1]]
    as_late = [item for events in sequences for item, t in events[1:] if t >= times[kept - 1]]
    counts, most = (np.array([Counter(c)[i] for i in range(1, 10)]) for c in (later, as_late))
    assert (found == found[0]).all()
    assert found[0].sum() == kept
    assert (counts <= found[0]).all()
    assert (found[0] <= most).all()


@pytest.mark.parametrize(("ticks", "days"), [(1, 7.0), (10**6, 0.5)])
def test_trending_counts_the_days_before_each_query(tmp_path, ticks, days):
    since = 1_600_000_000
    events = [replace(e, time=(since + e.time) * ticks) for e in EVENTS]
    made = trained(written(tmp_path, events))
    targets = list(
        zip(made.sequences.target_ids[:, 0], made.sequences.target_times.tolist(), strict=True)
    )
    end = max(time for _, time in targets) + 1
    queries = [(since + n * DAY) * ticks for n in (0, 3, 8, 19, 20, 400)]
    inputs = Inputs(torch.zeros(6, 1, dtype=torch.int64), torch.tensor(queries))
    found = baselines.BASELINES["trending"](days=days).fit(made)(inputs)
    for row, query in zip(found.tolist(), queries, strict=True):
        until = min(query, end)
        counted = Counter(i for i, t in targets if until - days * DAY * ticks <= t < until)
        assert row == [counted[i] for i in range(1, 10)]
    assert found[-1].sum() > 0, "long after training its last days count"


def test_the_last_items_come_first_and_then_the_popular(training):
    order = (-scores_of(training, "last_items")).argsort(axis=1, kind="stable") + 1
    counts = dict(enumerate(training.items.num_train_targets.tolist(), 1))
    for row, ranking in zip(INPUTS.item_ids_BL.tolist(), order.tolist(), strict=True):
        latest = list(dict.fromkeys(i for i in reversed(row) if i))
        others = sorted(set(counts) - set(latest), key=lambda i: (-counts[i], i))
        assert ranking == latest + others


@pytest.mark.skipif(not is_installed(Ials), reason="no implicit")
def test_ials_scores_by_factors_solved_for_the_row(training, monkeypatch):
    from implicit.cpu import als

    kept = []
    fit = als.AlternatingLeastSquares.fit
    monkeypatch.setattr(
        als.AlternatingLeastSquares,
        "fit",
        lambda self, *a, **k: kept.append(self) or fit(self, *a, **k),
    )
    found = scores_of(training, "ials", width=4, alpha=3.0, penalty=0.7, rounds=4)
    items = kept[0].item_factors.astype(np.float64)
    for row, scores in zip(INPUTS.item_ids_BL.tolist(), found, strict=True):
        confidence = np.ones(10)
        confidence[[i for i in set(row) if i]] = 3.0
        liked = np.array([float(i in row and i > 0) for i in range(10)])
        left = items.T @ np.diag(confidence) @ items + 0.7 * np.eye(4)
        user = np.linalg.solve(left, items.T @ (confidence * liked))
        np.testing.assert_allclose(scores, (items @ user)[1:], rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------------- what they may know


@pytest.fixture(scope="module")
def held_out_otherwise(tmp_path_factory):
    """The training data if each user's last two events were of other items."""
    rng = random.Random(7)
    changed = []
    for events in of_users(EVENTS).values():
        held = 2 if len(events) > 2 else 0
        changed += events[: len(events) - held]
        changed += [replace(e, item=rng.choice(ITEMS)) for e in events[len(events) - held :]]
    return trained(written(tmp_path_factory.mktemp("changed"), changed))


@pytest.mark.parametrize("name", ON_HISTORIES)
def test_held_out_events_are_not_learned_from(training, held_out_otherwise, name):
    if not is_installed(baselines.BASELINES[name]):
        pytest.skip(f"{name} needs a package")
    assert held_out_otherwise.items.source_ids == training.items.source_ids
    assert np.array_equal(scores_of(held_out_otherwise, name), scores_of(training, name))


def judged(shards, scorer):
    task = baselines.NextItemsBaselines()
    data = manifests.read(shards)
    rows = task.read(shards, data, "test")
    return task.judge(scorer, rows, task.training(shards, data), MetricChoice((1, 3)))


def test_the_whole_history_is_left_out_and_ties_are_drawn(shards, training):
    """Also what stands before the newest max_length events; scores that say little leave ties."""
    scores = np.array([1.0, 1, 0, 0, 0, 2, 0, 0, 1])
    found = judged(shards, lambda inputs: torch.from_numpy(scores).expand(len(inputs), -1))
    ids = {item: n for n, item in enumerate(training.items.source_ids, 1)}
    data = manifests.read(shards)
    rows = baselines.NextItemsBaselines().read(shards, data, "test")
    held = {}
    for events in of_users(EVENTS).values():
        if len(events) > 2:
            held[tuple(sorted({ids[e.item] for e in events[:-1]})), ids[events[-1].item]] = events
    hits: dict[str, list[bool]] = {"unmasked": [], "masked": []}
    for n, window in enumerate(rows.window_ids.tolist()):
        seen, target = tuple(rows.seen_ids[n].tolist()), int(rows.target_ids[n][0])
        assert (seen, target) in held
        ranking = sorted(range(1, 10), key=lambda i: (-scores[i - 1], key(window, i)))
        hits["unmasked"].append(target in ranking[:3])
        hits["masked"].append(target in [i for i in ranking if i not in seen][:3])
    assert max(len(seen) for seen, _ in held) > CONFIG.max_length
    for group, of_rows in hits.items():
        assert found.groups[group]["hit_rate@3"] == pytest.approx(np.mean(of_rows))
    assert hits["masked"] != hits["unmasked"]


def test_figures_do_not_depend_on_the_blocks(shards, training, monkeypatch):
    scorer = baselines.BASELINES["linear_history"]().fit(training)
    sizes = []

    def counted(inputs):
        sizes.append(len(inputs))
        return scorer(inputs)

    whole = judged(shards, counted)
    monkeypatch.setattr(baselines, "SCORES_PER_BATCH", 18)
    assert judged(shards, counted) == whole
    assert max(sizes[1:]) == 2, "the scores of two rows at a time"


def test_scores_see_no_targets():
    assert not [name for name in Inputs.__dataclass_fields__ if name.startswith("target_ids")]


# ---------------------------------------------------------------------------- the command


def test_the_command_judges_what_suits_histories(shards, tmp_path, itrec):
    arguments = ("baselines", "--shards", shards, "--out")
    code, _, err = itrec(*arguments, tmp_path / "runs")
    assert code == 0, err
    chosen = {n for n in ON_HISTORIES if is_installed(baselines.BASELINES[n])} - {"last_items"}
    assert {p.name for p in (tmp_path / "runs").iterdir()} == chosen
    run = RunDirectory.existing(tmp_path / "runs" / "linear_history")
    told = run.read_json(run.evaluation)
    assert told["splits"]["test"]["num_windows"] == manifests.read(shards).num_windows("test")
    assert "decay: 0.8" in run.config.read_text()

    code, _, err = itrec(*arguments, tmp_path / "x", "--only", "popularity,ridge")
    assert code == 2
    assert "ridge is fitted to windows and these shards hold histories" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_package_that_is_not_installed_is_named(shards, tmp_path, itrec, monkeypatch):
    monkeypatch.setattr(Ials, "package", "no_such_package")
    code, _, err = itrec("baselines", "--shards", shards, "--out", tmp_path, "--only", "ials")
    assert code == 2
    assert "the baseline ials needs the package no_such_package, which is not installed" in err
    assert "pip install 'itrec-dist[references]'" in err
    assert "ials" not in baselines.NextItemsBaselines().default(manifests.read(shards))


def test_the_pairs_of_a_sequence_are_all_of_them(training):
    found = training.sequences
    ids, offsets = found.item_ids.values, found.item_ids.offsets.tolist()
    wanted = {
        pair
        for start, end in itertools.pairwise(offsets)
        for pair in itertools.combinations(range(start, end), 2)
    }
    yielded = [
        (int(a), int(b)) for d, first, later in found.pairs() for a, b in
        zip(first, later, strict=True) if b - a == d
    ]  # fmt: skip
    assert sorted(yielded) == sorted(wanted)
    repeats = found.next_of_item()
    for start, end in itertools.pairwise(offsets):
        for place in range(start, end):
            again = [p - place for p in range(place + 1, end) if ids[p] == ids[place]]
            assert repeats[place] == (again[0] if again else np.iinfo(np.int64).max)
