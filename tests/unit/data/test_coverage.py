"""Users and events without a window: counted, stored, printed and reported."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.manifest import Coverage, Manifest
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.reports import provenance
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig, window
from itrec_dist.tasks.ratings.windows import RatingWindowConfig, window_ratings
from itrec_dist.tasks.summary import coverage, warnings
from tests import reported_runs as made
from tests.cases import slow_after

RATED = TableConfig(columns=TableColumns(rating="rating"))


def write_events(path: Path, sizes: Sequence[int]) -> Path:
    """A table in which user u has sizes[u] events, all of them of three items."""
    events = [(str(user), place) for user, size in enumerate(sizes) for place in range(size)]
    columns = {
        "user": [user for user, _ in events],
        "item": [str(place % 3) for _, place in events],
        "timestamp": [place for _, place in events],
        "rating": [3.0] * len(events),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def lossy(tmp_path):
    """Nine users, of whom two have the five events that a window and its holdout need."""
    return write_events(tmp_path / "e.parquet", (9, 5, 4, 4, 4, 4, 4, 4, 4))


def lossy_config(**changes) -> WindowConfig:
    given = {
        "min_user_events": 3, "input_length": 4, "target_length": 1, "stride": 1,
        "protocol": "leave_last",
    }  # fmt: skip
    return WindowConfig(**{**given, **changes})


def test_the_manifest_holds_the_counts_of_every_split(lossy, tmp_path):
    manifest = window("table", lossy, tmp_path / "shards", lossy_config(), RATED)
    assert manifest.coverage == (
        Coverage("any", 9, 7, 42, 28),
        Coverage("train", 9, 8, 24, 17),
        Coverage("validation", 9, 8, 9, 8),
        Coverage("test", 9, 7, 9, 7),
    )
    assert manifests.read(tmp_path / "shards") == manifest


@pytest.mark.parametrize("protocol", slow_after(2, list(NextItemsWindows.protocols)))
def test_the_counts_are_those_of_the_written_windows(tmp_path, protocol):
    path = write_events(tmp_path / "e.parquet", [1 + 7 * user % 23 for user in range(40)])
    config = WindowConfig(
        min_user_events=4, input_length=4, target_length=2, stride=3, protocol=protocol,
        validation_fraction=0.2, test_fraction=0.2,
    )  # fmt: skip
    shards = tmp_path / "shards"
    manifest = window("table", path, shards, config, RATED)
    users = {s: set(pq.read_table(shards / s)["user_id"].to_pylist()) for s in schema.SPLITS}
    users["any"] = set.union(*users.values())
    found = {row.split: row for row in manifest.coverage}
    assert set(found) == ({"any"} if protocol == "random_windows" else {"any", *schema.SPLITS})
    assert found["any"].num_users == manifest.num_users
    assert found["any"].num_events == manifest.steps[-1]["ratings"]
    assert found["any"].num_users_without > 0
    for split, row in found.items():
        assert row.num_users - row.num_users_without == len(users[split])


def test_the_last_ratings_of_users_with_few_of_them_are_missed(lossy, tmp_path):
    config = RatingWindowConfig(
        protocol="last_ratings", validation_fraction=0.2, test_fraction=0.12, input_length=2
    )
    manifest = window_ratings("table", lossy, tmp_path / "shards", config, RATED)
    assert manifest.coverage == (
        Coverage("any", 9, 0, 42, 0),
        Coverage("train", 9, 0, 30, 0),
        Coverage("validation", 9, 0, 10, 0),
        Coverage("test", 9, 7, 2, 0),
    )
    (warning,) = warnings(manifest)
    assert warning.startswith("7 of 9 users have no test window: raise the share")


def test_the_command_prints_the_counts_and_one_warning(lossy, tmp_path, itrec):
    code, out, _ = itrec(
        "window", "--source", "table", "--input", lossy, "--out", tmp_path / "shards",
        "--protocol", "leave_last", "--input_length", 4, "--target_length", 1,
        "--min_user_events", 3,
    )  # fmt: skip
    assert code == 0
    assert ["9", "7", "9", "7", "test"] in [line.split() for line in out.splitlines()]
    (warning,) = [line for line in out.splitlines() if line.startswith("warning")]
    assert warning == (
        "warning: 7 of 9 users have no window at all, 8 of 9 no training window, 8 of 9 no "
        "validation window, 7 of 9 no test window: one needs 5 events in a row (input_length + "
        "target_length): lower --input_length, cut padded windows too with --short_histories "
        "true, or raise --min_user_events to leave out short histories"
    )


def test_a_tenth_of_the_users_is_not_worth_a_warning(lossy, tmp_path):
    manifest = window("table", lossy, tmp_path / "shards", lossy_config(), RATED)
    few = dataclasses.replace(manifest, coverage=(Coverage("test", 100, 10, 100, 10),))
    assert warnings(few) == []
    more = dataclasses.replace(manifest, coverage=(Coverage("test", 100, 11, 100, 11),))
    assert len(warnings(more)) == 1


def test_a_manifest_without_the_counts_is_still_read(lossy, tmp_path):
    shards = tmp_path / "shards"
    window("table", lossy, shards, lossy_config(), RATED)
    place = shards / schema.MANIFEST_FILE
    content = json.loads(place.read_text(encoding="utf-8"))
    del content["coverage"]
    place.write_text(json.dumps(content), encoding="utf-8")
    old = manifests.read(shards)
    assert old.coverage == ()
    assert warnings(old) == []
    assert "Users without a window" not in [fact.name for fact in provenance.data(old)]


def test_the_report_shows_the_counts(tmp_path, itrec):
    counted = [
        {"split": split, "num_users": 943, "num_users_without": without, "num_events": 99996,
         "num_events_without": 56075}
        for split, without in (("any", 779), ("test", 795))
    ]  # fmt: skip
    content = made.manifest(coverage=counted)
    facts = {f.name: f.value for f in provenance.data(Manifest.from_json(content, "here"))}
    assert facts["Users without a window"] == "779 of 943 (all splits), 795 of 943 (test)"
    assert "56,075 of 99,996 (test)" in facts["Events without a window"]
    made.trained(tmp_path / "run", manifest=content)
    code, _, err = itrec("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert code == 0, err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Users without a window" in page
    assert "795 of 943 (test)" in page


def test_the_table_lines_up(lossy, tmp_path):
    manifest = window("table", lossy, tmp_path / "shards", lossy_config(), RATED)
    header, *rows = coverage(manifest)
    assert len(rows) == 4
    assert {row.rindex("  ") for row in rows} == {len(header)}
