"""Recommendations of models that are told when they are asked for."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist import Run
from itrec_dist.data import manifest as manifests
from itrec_dist.data.shards.splits import read_history_split
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation.checkpoints import feed_of
from itrec_dist.inference.fitting import fit
from itrec_dist.inference.query_time import in_units

pytestmark = pytest.mark.usefixtures("one_thread")

START = 1_600_000_000  # 2020-09-13T12:26:40
HOUR = 3600


@pytest.fixture(scope="module")
def told(itrec, tmp_path_factory):
    """A run of a model that is told the time of the query; users have an event an hour."""
    folder = tmp_path_factory.mktemp("told")
    rng = np.random.default_rng(0)
    rows = [
        (user, (start + step) % 30, START + step * HOUR)
        for user in range(60)
        for start in [int(rng.integers(30))]
        for step in range(int(rng.integers(3, 12)))
    ]
    pq.write_table(_table(rows), folder / "walks.parquet")
    code, _, err = itrec(
        "window", "--samples", "histories", "--source", "table", "--input",
        folder / "walks.parquet", "--out", folder / "shards", "--time_unit", "seconds",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = itrec(
        "train", "--local", "--shards", folder / "shards", "--out", folder / "run",
        "--model.kind", "hstu", "--model.time_of_query", "true", "--model.width", 8,
        "--model.num_layers", 1, "--loss", "softmax", "--training.epochs", 1,
        "--cluster.threads", 1, "--engine.precision", "fp32",
    )  # fmt: skip
    assert code == 0, err
    return Run(folder / "run")


def _table(rows):
    columns = zip(*rows, strict=True)
    return pa.table([list(c) for c in columns], names=["user", "item", "timestamp"])


def test_recommendations_at_a_time_have_the_scores_that_the_model_is_judged_by(told):
    restored = told.restored
    shards = restored.run.shards
    rows = read_history_split(shards, manifests.read(shards), "test")
    time = START + 8 * HOUR
    chosen = np.flatnonzero(rows.target_times.values == time).tolist()
    source = restored.items.source_ids
    events = [
        (row, source[item - 1], when)
        for row in chosen
        for item, when in zip(rows.item_ids[row].tolist(), rows.times[row].tolist(), strict=True)
    ]
    moment = datetime.fromtimestamp(time, UTC)
    top = told.recommend(_table(events), k=3, at=moment).to_pylist()
    assert len(top) == 3 * len(chosen) > 9
    scores = {}
    with torch.no_grad():
        for batch in feed_of(restored, fit(restored, shards), "test").epoch(None):
            catalogue_BC = torch.cat(list(restored.task.catalogue_scores(batch)), dim=1)
            scores |= dict(zip(batch.window_ids_B.tolist(), catalogue_BC, strict=True))
    for row in top:
        judged_C = scores[int(rows.window_ids[int(row["user"])])]
        expected = float(judged_C[list(source).index(row["item"])])
        assert row["score"] == pytest.approx(expected, abs=1e-5)
    later = told.recommend(_table(events), k=3, at="2021-01-01").to_pylist()
    assert [row["score"] for row in later] != [row["score"] for row in top]


def test_a_list_of_items_is_of_the_visit_that_is_under_way(told):
    time = START + 99 * HOUR
    table = _table([("0", "3", time), ("0", "4", time)])
    assert told.recommend([["3", "4"]], at=time).to_pylist() == (
        told.recommend(table, at=time).to_pylist()
    )


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (None, "say when the recommendations are asked for, by --at now or a date"),
        ("yesterday", "--at yesterday is no moment: give now, a date such as 2024-05-31"),
        ("inf", "--at inf is no moment"),
        ("2020-09-13T13:26:40", "users have later events"),
    ],
)
def test_a_time_of_the_query_that_says_nothing_is_refused(told, itrec, tmp_path, at, words):
    out = tmp_path / "top.parquet"
    given = () if at is None else ("--at", at)
    code, _, err = itrec("recommend", told.path, "--out", out, *given)
    assert code == 2
    assert words in err
    assert not out.exists()


def test_a_model_that_is_not_told_refuses_a_time(told, itrec, tmp_path):
    code, _, err = itrec(
        "train", "--local", "--shards", told.restored.run.shards, "--out", tmp_path / "run",
        "--model.kind", "gru4rec", "--model.width", 8, "--training.epochs", 1,
        "--cluster.threads", 1,
    )  # fmt: skip
    assert code == 0, err
    code, _, err = itrec("recommend", tmp_path / "run", "--items", "3", "--at", "now")
    assert code == 2
    assert "--at is for models that are told the time of the query" in err


def test_a_moment_is_counted_in_the_unit_of_the_data(told):
    seconds = told.restored.manifest
    thousandths = replace(seconds, time_unit="milliseconds")
    for at in ("2020-09-13T12:26:40", "2020-09-13T14:26:40+02:00",
               datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC), START, str(START)):  # fmt: skip
        assert in_units(at, seconds) == START
    assert in_units("2020-09-13", thousandths) == (START - 44_800) * 1000
    assert in_units(str(date(2020, 9, 13)), thousandths) == (START - 44_800) * 1000
    fractions = replace(seconds, time_unit="seconds / 1000000")
    assert in_units("1600000000.25", fractions) == 1_600_000_000_250_000
    assert in_units("2020-09-13T12:26:40.25", fractions) == 1_600_000_000_250_000
    assert abs(in_units("now", seconds) - datetime.now(UTC).timestamp()) < 60
    unknown = replace(seconds, time_unit="")
    assert in_units("17", unknown) == 17
    with pytest.raises(ConfigError, match="the data does not say the unit of its times"):
        in_units("now", unknown)
