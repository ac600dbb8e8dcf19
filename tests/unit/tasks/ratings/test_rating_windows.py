"""`itrec window ratings` against a second implementation, and its audit against broken windows."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from itrec_dist.data import manifest, schema, sources
from itrec_dist.data.database import Database
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.data.sources import staging
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.tasks.ratings import audit as rating_audit
from itrec_dist.tasks.ratings.windows import RatingsWindows, RatingWindowConfig, window_ratings

SETTINGS = {"input_length": 4, "validation_fraction": 0.2, "test_fraction": 0.1, "num_shards": 3}


@pytest.fixture(scope="module", params=RatingsWindows.protocols)
def cut(request, ratings_folder, tmp_path_factory):
    """(protocol, manifest, every window with its split, in canonical order)."""
    out = tmp_path_factory.mktemp("rated") / "shards"
    made = window_ratings(
        "ml-1m", ratings_folder, out, RatingWindowConfig(protocol=request.param, **SETTINGS)
    )
    assert made == manifest.read(out)
    items, users = reader.read_items(out, made), reader.read_users(out, made)
    found = []
    for split in made.splits:
        windows = read_split(out, made, split, times=True)
        for row in range(len(windows)):
            found.append(
                {
                    "split": split,
                    "id": int(windows.window_ids[row]),
                    "user": users.source_ids[windows.user_ids[row] - 1],
                    "inputs": [
                        (items.source_ids[i - 1], float(r), int(t))
                        for i, r, t in zip(
                            windows.item_ids[row],
                            windows.ratings[row],
                            windows.times[row],
                            strict=True,
                        )
                        if i != schema.PAD
                    ],
                    "is_left_padded": (np.diff((windows.item_ids[row] > 0) * 1) >= 0).all(),
                    "target": items.source_ids[windows.target_ids[row, 0] - 1],
                    "rating": float(windows.target_ratings[row, 0]),
                    "time": int(windows.target_time[row]),
                }
            )
    return request.param, made, sorted(found, key=lambda w: w["id"])


@pytest.fixture(scope="module")
def histories(ratings_folder):
    """User -> (item, rating, time) in order, read line by line."""
    found = {}
    for row, line in enumerate((ratings_folder / "ratings.dat").read_text().splitlines()):
        user, item, rating, time = line.split("::")
        found.setdefault(user, []).append((int(time), row, item, float(rating)))
    return {
        user: [(item, rating, time) for time, _, item, rating in sorted(rows)]
        for user, rows in found.items()
    }


def test_every_rating_is_the_target_of_one_window(cut, histories):
    _, _, windows = cut
    by_user = {
        user: [(w["target"], w["rating"], w["time"]) for w in group]
        for user, group in itertools.groupby(windows, lambda w: w["user"])
    }
    assert by_user == histories


def test_inputs_are_the_latest_training_ratings_before_the_target(cut):
    _, _, windows = cut
    before, user = [], None
    for window in windows:
        if window["user"] != user:
            before, user = [], window["user"]
        assert window["inputs"] == before[-4:]
        assert window["is_left_padded"]
        if window["split"] == "train":
            before.append((window["target"], window["rating"], window["time"]))


def test_each_protocol_holds_out_what_it_says(cut, histories):
    protocol, made, windows = cut
    num = {split: made.num_windows(split) for split in schema.SPLITS}
    total = sum(num.values())
    of_user = {
        user: [w["split"] for w in group]
        for user, group in itertools.groupby(windows, lambda w: w["user"])
    }
    if protocol == "random_ratings":
        assert (num["validation"], num["test"]) == (round(total * 0.2), round(total * 0.1))
        held_out = [w["id"] for w in windows if w["split"] != "train"]
        assert abs(np.mean(held_out) / total - 0.5) < 0.05  # not the last, not the first
    elif protocol == "last_ratings":
        for user, splits in of_user.items():
            n = len(histories[user])
            expected = [round(n * 0.2 + 1e-9), round(n * 0.1 + 1e-9)]
            ends = [n - sum(expected), n - expected[1], n]
            assert splits[: ends[0]] == ["train"] * ends[0]
            assert splits[ends[0] : ends[1]] == ["validation"] * (ends[1] - ends[0])
            assert splits[ends[1] :] == ["test"] * (n - ends[1])
    else:
        times = {s: [w["time"] for w in windows if w["split"] == s] for s in schema.SPLITS}
        assert max(times["train"]) < min(times["validation"])
        assert max(times["validation"]) < min(times["test"])
        assert num["test"] == pytest.approx(total * 0.1, abs=20)


def test_items_that_training_does_not_know_come_last(cut):
    _, made, windows = cut
    counts = {}
    for window in windows:
        counts.setdefault(window["target"], 0)
        counts[window["target"]] += window["split"] == "train"
    assert made.num_items == len(counts)
    unknown = {item for item, count in counts.items() if not count}
    of_unknown = sum(w["target"] in unknown for w in windows if w["split"] == "test")
    assert made.audit["test"]["targets_of_unknown_items"] == of_unknown


def test_the_audit_counts_what_a_second_count_finds(cut):
    protocol, made, windows = cut
    counts = made.audit["test"]
    train = [w for w in windows if w["split"] == "train"]
    test = [w for w in windows if w["split"] == "test"]
    first_time = min(w["time"] for w in test)
    assert counts["targets"] == len(test)
    assert counts["inputs"] == sum(len(w["inputs"]) for w in train + test)
    assert counts["training_events_not_before"] == sum(w["time"] >= first_time for w in train)
    moments = {(w["user"], w["time"]) for w in train}
    tied = sum((w["user"], w["time"]) in moments for w in test)
    assert counts["targets_tied_with_training"] == tied
    firsts = {}
    for w in test:
        firsts.setdefault(w["user"], w["id"])
    after = sum(w["id"] > firsts.get(w["user"], np.inf) for w in train)
    assert counts["training_events_after_own"] == after
    known = {w["user"] for w in train}
    assert counts["targets_of_unknown_users"] == sum(w["user"] not in known for w in test)
    for promise in rating_audit.PROMISES[protocol]:
        assert counts[promise] == 0


def test_rating_moments_and_scale(cut):
    _, made, windows = cut
    train = [w["rating"] for w in windows if w["split"] == "train"]
    assert made.rating_mean == pytest.approx(np.mean(train))
    assert made.rating_std == pytest.approx(np.std(train))
    assert (made.rating_min, made.rating_max) == (1.0, 5.0)


def test_the_same_ratings_give_the_same_fingerprint(ratings_folder, tmp_path):
    made = {
        window_ratings(
            "ml-1m", ratings_folder, tmp_path / f"t{threads}{seed}",
            RatingWindowConfig(threads=threads, seed=seed, **SETTINGS),
        ).fingerprint
        for threads, seed in ((1, 0), (2, 0), (1, 1))
    }  # fmt: skip
    assert len(made) == 2  # threads change nothing, the seed deals anew


@pytest.fixture
def dealt(ratings_folder):
    """A database in which windows stand, to be broken."""
    config = RatingWindowConfig(**SETTINGS)
    with Database(None, 1) as database:
        staged = sources.chosen("ml-1m").stage(database, ratings_folder)
        staging.key_events(database, staged)
        RatingsWindows().cut(database, config)
        names = [name for name, _ in staged.user_features]
        staging.vocabulary(database, "user", staged.user_features)
        database.table("users", "shared/users", features=names)
        database.table("windows", "ratings/windows", input_length=4, ratings_before=3)
        yield database


def broken(database, change):
    """Let `change` alter the rows of `windows`."""
    table = pa.Table.from_batches(list(database.stored("windows")))
    rows = table.to_pylist()
    change(rows)
    database.drop("windows")
    database.register("windows", pa.Table.from_pylist(rows, schema=table.schema))


def test_whole_windows_pass_the_audit(dealt):
    assert set(rating_audit.audit(dealt, "random_ratings", 4)) == {"validation", "test"}


def test_an_input_from_the_future_is_found(dealt):
    def look_ahead(rows):
        first, second = next(
            (a, b)
            for a, b in itertools.pairwise(rows)
            if a["user_id"] == b["user_id"] and a["split"] == b["split"] == "train"
            and a["item_ids"][-1]
        )  # fmt: skip
        first["item_ids"][-1], first["ratings"][-1] = (
            second["target_ids"][0],
            second["target_ratings"][0],
        )

    broken(dealt, look_ahead)
    with pytest.raises(AssertionError, match="inputs_not_before"):
        rating_audit.audit(dealt, "random_ratings", 4)


def test_a_held_out_input_is_found(dealt):
    def show_test(rows):
        first, second = next(
            (a, b)
            for a, b in itertools.pairwise(rows)
            if a["user_id"] == b["user_id"] and (a["split"], b["split"]) == ("test", "train")
            and b["item_ids"][-1]
        )  # fmt: skip
        second["item_ids"][-1], second["ratings"][-1] = (
            first["target_ids"][0],
            first["target_ratings"][0],
        )

    broken(dealt, show_test)
    with pytest.raises(AssertionError, match="inputs_held_out"):
        rating_audit.audit(dealt, "random_ratings", 4)


def test_a_lost_window_is_found(dealt):
    broken(dealt, lambda rows: rows.pop())
    with pytest.raises(AssertionError, match="rating_windows"):
        rating_audit.audit(dealt, "random_ratings", 4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"protocol": "leave_last"}, "random_ratings, last_ratings, ratings_by_time"),
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, "leave nothing to train on"),
        ({"scale": (5.0, 1.0)}, r"scale is \[5.0, 1.0\]"),
        ({"input_length": 0}, "input_length is 0"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        RatingWindowConfig(**settings)


def test_a_rating_outside_the_scale_is_refused_by_row(ratings_folder, tmp_path):
    lines = (ratings_folder / "ratings.dat").read_text().splitlines()
    row = next(i for i, line in enumerate(lines, 1) if line.split("::")[2] == "5")
    with pytest.raises(DataError, match=rf"row {row} has the rating 5, the scale is 1 to 4:"):
        window_ratings(
            "ml-1m", ratings_folder, tmp_path / "out", RatingWindowConfig(scale=(1.0, 4.0))
        )
    assert list(tmp_path.iterdir()) == []


def test_events_without_ratings_are_refused(tmp_path, itrec):
    (tmp_path / "events.csv").write_text("user,item,timestamp\na,x,1\na,y,2\n")
    code, _, err = itrec(
        "window", "ratings", "--source", "table", "--input", tmp_path / "events.csv",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 2
    assert "has no ratings to predict" in err
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_audit(ratings_folder, tmp_path, itrec):
    code, out, err = itrec(
        "window", "ratings", "--source", "ml-1m", "--input", ratings_folder,
        "--out", tmp_path / "out", "--protocol", "ratings_by_time",
    )  # fmt: skip
    assert code == 0, err
    assert "(ratings_by_time)" in out
    assert "targets_of_unknown_users" in out


def test_users_are_described_by_their_region_as_well(cut, ratings_folder):
    _, made, _ = cut
    assert [f.name for f in made.user_features] == ["gender", "age", "occupation", "region"]
    lines = (ratings_folder / "users.dat").read_text().splitlines()
    regions = {line.split("::")[4][0] for line in lines}
    assert set(made.user_features[3].values) <= regions
    assert made.user_features[3].values
