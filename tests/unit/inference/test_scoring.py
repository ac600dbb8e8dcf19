"""Batches of recommendations, cut into parts and scored in this process, against one file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data import new_events
from itrec_dist.data.shards import reader
from itrec_dist.errors import OutputError
from itrec_dist.inference import recommend
from itrec_dist.inference.load import restore
from itrec_dist.inference.recommend import Request
from itrec_dist.inference.scoring import plan as plans
from itrec_dist.inference.scoring.folder import Folder, part_name
from itrec_dist.inference.scoring.scorer import Job, Scorer
from itrec_dist.inference.scoring.sources import Given, OfEvents, OfShards
from itrec_dist.inference.served import from_lists
from itrec_dist.storage.uri import Uri
from tests.cases import slow_after

pytestmark = pytest.mark.usefixtures("one_thread", "small_blocks")
BLOCK = 32
USERS = 300
PARTS = -(-USERS // BLOCK)
REQUEST = Request(k=7)


@pytest.fixture
def small_blocks(monkeypatch):
    """Parts of few users, and what is compared with them in the same blocks."""
    for module in (recommend, plans):
        monkeypatch.setattr(module, "USERS_PER_BLOCK", BLOCK)


@pytest.fixture(scope="module")
def events(ratings_folder, tmp_path_factory) -> Path:
    """The ratings as a table of events, users mixed, some items unknown to the model."""
    lines = (ratings_folder / "ratings.dat").read_text().splitlines()
    rows = [line.split("::") for line in lines]
    order = np.random.default_rng(5).permutation(len(rows))
    rows = [rows[i] for i in order]
    names = ["user", "item", "rating", "timestamp"]
    kinds = [pa.string(), pa.string(), pa.float64(), pa.int64()]
    table = pa.table(
        {n: pa.array(c).cast(t) for n, c, t in zip(names, zip(*rows, strict=True), kinds,
                                                   strict=True)}
    )  # fmt: skip
    items = table["item"].to_pylist()
    items[::97] = ["nowhere"] * len(items[::97])
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    pq.write_table(table.set_column(1, "item", pa.array(items)), path)
    return path


def source_of(kind, restored, shards, events):
    if kind == "events":
        return OfEvents(restored, events, shards, "1GB")
    if kind == "lists":
        known = restored.items.source_ids
        lists = [[known[(u + i) % len(known)] for i in range(u % 9)] for u in range(100)]
        return Given(from_lists(restored, [f"u{u}" for u in range(100)], lists))
    return OfShards(restored, shards)


def prepared(out, source, restored, request=REQUEST, existing="refuse"):
    return plans.prepare(Folder(out), source, restored, request, 2, existing)


def job_of(run, out, plan, restored, request=REQUEST):
    return Job(run, "best", plans.checkpoint_of(restored), request, out, plan.request)


def score_all(run, out, source, existing="refuse"):
    restored = restore(run)
    plan = prepared(out, source, restored, existing=existing)
    scorer = Scorer(job_of(run, out, plan, restored))
    return plan, [scorer.score(part) for part in plan.left]


def in_one_process(itrec, run, out, *more):
    code, _, err = itrec("recommend", run, "--out", out, "-k", REQUEST.k, *more)
    assert (code, err) == (0, "")
    return pq.read_table(out)


@pytest.mark.parametrize(
    ("kind", "place"), slow_after(2, [("shards", "path"), ("events", "uri"), ("lists", "path")])
)
def test_parts_are_the_rows_of_one_file_to_the_bit(kind, place, history_run, request, tmp_path):
    itrec, shards, events = map(request.getfixturevalue, ("itrec", "history_shards", "events"))
    restored = restore(history_run)
    source = source_of(kind, restored, shards, events)
    folder = tmp_path / "parts"
    out = Uri(f"file://{folder}") if place == "uri" else folder
    plan, counts = score_all(history_run, out, source)
    with source.opened() as opened:
        (whole,) = opened.pieces(USERS)
    assert len(plan.left) == plan.cut.parts == -(-len(whole.users) // BLOCK)
    found = pq.read_table(folder)
    if kind == "lists":
        expected = recommend.table_of(restored, whole, REQUEST)
    else:
        more = ["--histories", events] if kind == "events" else []
        expected = in_one_process(itrec, history_run, tmp_path / "one.parquet", *more)
    assert found.schema.equals(recommend.COLUMNS)
    assert found.equals(expected), "rows, their order, and every bit of the scores"
    assert sum(c["served"] for c in counts) == len(whole.users)
    assert sum(c["users"] for c in counts) == len(set(expected["user"].to_pylist()))
    assert (plan.cut.skipped_items == 1) == (kind == "events")


@pytest.mark.parametrize("users", [1, 7, 10_000])
def test_events_come_in_pieces_of_whole_users(users, history_run, events):
    manifest = restore(history_run).manifest
    with new_events.keyed(events, manifest) as keyed:
        whole, pieces = keyed.all(), list(keyed.pieces(users))
        assert keyed.num_users == USERS
    assert [len(p.users) for p in pieces[:-1]] == [users] * (len(pieces) - 1)
    assert sum((p.users for p in pieces), ()) == whole.users
    for name in ("times", "ratings"):
        joined = np.concatenate([getattr(p, name) for p in pieces])
        assert np.array_equal(joined, getattr(whole, name))
    assert sum((p.items for p in pieces), ()) == whole.items
    lengths = np.concatenate([np.diff(p.offsets) for p in pieces])
    assert np.array_equal(lengths, np.diff(whole.offsets))


@pytest.mark.parametrize("users", [1, 64, 300, 301])
def test_latest_events_come_in_pieces_and_through_a_table(users, history_shards):
    manifest = manifests.read(history_shards)
    whole = reader.read_histories(history_shards, manifest)
    ids: tuple[str, ...] = ()
    for at, (source_ids, piece) in enumerate(
        reader.history_pieces(history_shards, manifest, users)
    ):
        rows = np.arange(at * users, min((at + 1) * users, USERS))
        table = reader.histories_to_table(piece, manifest)
        again = reader.table_to_histories(table, manifest, "a table")
        for name, values in vars(whole.take(rows)).items():
            assert np.array_equal(getattr(piece, name), values), name
            assert np.array_equal(getattr(again, name), values), name
        ids += source_ids
    assert ids == reader.read_users(history_shards, manifest).source_ids


def test_a_part_that_is_whole_is_left_alone_and_others_are_written_again(
    history_run, history_shards, tmp_path
):
    out, restored = tmp_path / "parts", restore(history_run)
    source = OfShards(restored, history_shards)
    plan, _ = score_all(history_run, out, source)
    before = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    (out / part_name(1)).unlink()
    (out / part_name(3)).write_bytes(before[part_name(3)][:-20])
    (out / part_name(4)).write_bytes(before[part_name(4)][:200])
    stamps = {p.name: p.stat().st_mtime_ns for p in out.glob("*.parquet")}
    again, counts = score_all(history_run, out, source, "resume")
    assert again.left == [1, 3, 4] == [c["part"] for c in counts]
    assert again.request == plan.request
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == before
    untouched = {n for n, t in stamps.items() if (out / n).stat().st_mtime_ns == t}
    assert untouched == set(before) - {part_name(p) for p in (1, 3, 4)}


def test_a_part_lost_after_all_were_there_is_made_anew(history_run, history_shards, tmp_path):
    out, restored = tmp_path / "parts", restore(history_run)
    source, folder = OfShards(restored, history_shards), Folder(out)
    score_all(history_run, out, source)
    folder.write("_summary.json", {})
    folder.remove_histories()
    before = (out / part_name(2)).read_bytes()
    (out / part_name(2)).unlink()
    assert [c["part"] for c in score_all(history_run, out, source, "resume")[1]] == [2]
    assert (out / part_name(2)).read_bytes() == before


def test_users_are_cut_anew_where_that_had_been_interrupted(history_run, history_shards, tmp_path):
    out, restored = tmp_path / "parts", restore(history_run)
    source = OfShards(restored, history_shards)
    plan = prepared(out, source, restored)
    record = json.loads((out / "_request.json").read_text())
    (out / "_request.json").write_text(json.dumps(record | {"cut": None}))
    (out / "_histories" / part_name(0)).write_bytes(b"half")
    assert prepared(out, source, restored, existing="resume") == plan
    assert Folder(out).read_histories(0).num_rows == BLOCK


def test_another_request_s_parts_are_refused_with_what_differs(
    history_run, history_shards, events, tmp_path
):
    out, restored = tmp_path / "parts", restore(history_run)
    source = OfShards(restored, history_shards)
    prepared(out, source, restored)
    some = restored.items.source_ids[:20]
    for other, words in (
        (Request(k=8), "with k 7, not 8"),
        (Request(k=7, seen="none"), "with seen None, not none"),
        (Request(k=7, among=some), "with another --among"),
        (Request(k=7, without=some), "with another --without"),
    ):
        with pytest.raises(OutputError, match=f"parts of another request, {words}: choose"):
            prepared(out, source, restored, other, "resume")
    others = OfEvents(restored, events, history_shards, "1GB")
    with pytest.raises(OutputError, match="parts of another request, for other histories"):
        prepared(out, others, restored, existing="resume")
    with pytest.raises(OutputError, match="holds parts already: pass --resume"):
        prepared(out, source, restored)
    assert prepared(out, others, restored, existing="overwrite").cut.skipped_items == 1


@pytest.mark.parametrize("existing", ["refuse", "overwrite", "resume"])
def test_what_no_batch_has_written_is_never_touched(
    existing, history_run, history_shards, tmp_path
):
    restored = restore(history_run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear diary")
    for out in (tmp_path / "mine", Uri(f"file://{tmp_path}/mine")):
        with pytest.raises(OutputError, match=r"holds no _request\.json"):
            prepared(out, OfShards(restored, history_shards), restored, existing=existing)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_parts_are_whole_blocks_and_several_for_each_worker(monkeypatch):
    monkeypatch.setattr(plans, "USERS_PER_BLOCK", 1024)
    assert plans.users_per_part(1, 2) == 1024
    assert plans.users_per_part(100_000, 2) == 12 * 1024
    assert plans.users_per_part(10_000_000, 2) == plans.users_per_part(10**9, 64) == 16 * 1024


def test_a_dry_run_plans_from_a_measured_rate_and_writes_nothing(
    history_run, events, itrec, tmp_path
):
    code, shown, err = itrec(
        "recommend", history_run, "--histories", events, "--workers", 2, "--dry_run",
        "--out", tmp_path / "parts",
    )  # fmt: skip
    assert (code, err) == (0, "")
    lines = shown.splitlines()
    assert lines[0] == f"users: {USERS} in {PARTS} parts of {BLOCK}"
    rate = float(lines[2].split(" scores ")[1].split(" users/s")[0].replace(",", ""))
    assert rate > 0
    assert "10,000,000 users take about" in lines[3]
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--out", "x", "--resume"], "--resume is about a batch on a cluster: give --workers too"),
        (["--dry_run"], "--dry_run is about a batch on a cluster: give --workers too"),
        (["--out", "x", "--workers", "0"], "--workers 0 must be at least 1"),
        (["--out", "x.parquet", "--workers", "2"], "give a name without .parquet"),
        (
            ["--out", "x", "--workers", "2", "--resume", "--overwrite"],
            "--resume keeps parts and --overwrite replaces them: give one of them",
        ),
        (["--out", "x", "--workers", "2", "--items", "1"], "needs no --workers"),
        (["--out", "x", "--workers", "2", "-k", "1000"], "-k 1000 is not between 1 and"),
        (["--out", "s3://u:secret@b/x", "--workers", "2"], "carries a credential"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_one_sentence(
    options, sentence, history_run, itrec, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, shown, err = itrec("recommend", history_run, *options)
    assert (code, shown) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert "secret" not in err
    assert not list(tmp_path.iterdir())


def test_histories_that_cannot_be_used_leave_an_older_batch_alone(
    history_run, history_shards, events, itrec, tmp_path
):
    restored, out = restore(history_run), tmp_path / "parts"
    prepared(out, OfShards(restored, history_shards), restored)
    wrong = tmp_path / "wrong.parquet"
    pq.write_table(pq.read_table(events).rename_columns(["who", "item", "rating", "timestamp"]),
                   wrong)  # fmt: skip
    code, _, err = itrec(
        "recommend", history_run, "--out", out, "--workers", 2, "--histories", wrong, "--overwrite"
    )
    assert code == 2
    assert f"{wrong} has no column 'user', its columns are who, item, rating, timestamp" in err
    assert len(err.splitlines()) == 1
    assert (out / "_histories" / part_name(0)).is_file()
