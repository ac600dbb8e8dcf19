"""Recommendations for histories from files and from the command line, and lists of items."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data.new_events import read_events
from itrec_dist.data.shards import reader
from itrec_dist.inference.load import restore
from itrec_dist.inference.recommend import COLUMNS
from tests.stopped_runs import reseal

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["user", "item", "timestamp", "rating"]
FOREIGN = "Ж-千と'\"千 🎬"


@pytest.fixture(scope="module")
def ratings(ratings_folder) -> list[tuple[str, str, int, float]]:
    """(user, item, time, rating), in the order of the file that was windowed."""
    lines = (ratings_folder / "ratings.dat").read_text().splitlines()
    rows = (line.split("::") for line in lines)
    return [(user, item, int(time), float(rating)) for user, item, rating, time in rows]


def write(path: Path, rows: list[tuple[str, str, int, float]]) -> Path:
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(columns, names=NAMES[: len(columns)])
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def served(itrec, run: Path, out: Path, *more: object) -> tuple[pa.Table, str]:
    code, shown, err = itrec("recommend", run, "--out", out, "--overwrite", *more)
    assert (code, err) == (0, ""), err
    table = pq.read_table(out)
    assert table.schema.equals(COLUMNS)
    return table, shown


def by_user(table: pa.Table) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    columns = (table[name].to_pylist() for name in ("user", "item", "score"))
    for user, item, score in zip(*columns, strict=True):
        found.setdefault(user, []).append((item, score))
    return found


def of_user(table: pa.Table, user: str) -> list[tuple[str, float]]:
    return by_user(table)[user]


@pytest.mark.parametrize(
    ("kind", "suffix"), [("windows", ".csv"), ("histories", ".csv"), ("histories", ".parquet")]
)
def test_the_history_of_the_shards_gives_the_same_from_a_file(kind, suffix, request, tmp_path):
    """Users in another order in the file; of equal times, the order of the file counts."""
    itrec, ratings = (request.getfixturevalue(name) for name in ("itrec", "ratings"))
    run = request.getfixturevalue("trained" if kind == "windows" else "history_run")
    shards = request.getfixturevalue("shards" if kind == "windows" else "history_shards")
    kept = set(reader.read_users(shards, manifests.read(shards)).source_ids)
    turned = sorted((r for r in ratings if r[0] in kept), key=lambda r: -int(r[0]))  # stable
    file = write(tmp_path / f"events{suffix}", turned)
    expected, _ = served(itrec, run, tmp_path / "a.parquet", "-k", 20)
    found, shown = served(itrec, run, tmp_path / "b.parquet", "-k", 20, "--histories", file)
    assert found.equals(expected)
    # The windows' catalogue is smaller than the ratings'.
    assert ("unknown to the model" in shown) == (kind == "windows")


def test_the_order_of_the_file_decides_between_equal_times(history_run, itrec, tmp_path):
    def scores_of(items: list[str], name: str) -> list[tuple[str, float]]:
        file = write(tmp_path / f"{name}.parquet", [("new", item, 5, 3.0) for item in items])
        out = tmp_path / f"{name}.top.parquet"
        return of_user(served(itrec, history_run, out, "--histories", file)[0], "new")

    known = restore(history_run).items.source_ids
    first, turned = (scores_of(list(known[:2])[::step], f"x{step}") for step in (1, -1))
    assert first != turned
    assert scores_of(list(known[:2]), "again") == first


def test_more_events_than_a_model_is_shown_are_cut_and_all_are_left_out(
    history_run, itrec, tmp_path
):
    known = restore(history_run).items.source_ids
    assert manifests.read(history_run).input_length == 20
    long = [("new", item, time, 4.0) for time, item in enumerate(known[:60])]
    shown_alone = [("new", *row[1:]) for row in long[-20:]]
    k = len(known)
    out = tmp_path / "top.parquet"
    whole = served(
        itrec, history_run, out, "-k", k, "--histories", write(tmp_path / "a.csv", long)
    )[0]
    newest = served(
        itrec, history_run, out, "-k", k, "--histories", write(tmp_path / "b.csv", shown_alone)
    )[0]
    left = dict(of_user(whole, "new"))
    assert set(left) == set(known[60:])
    assert left == {i: s for i, s in of_user(newest, "new") if i in left}
    for seen, gone in (("input", known[40:60]), ("none", ())):
        table = served(
            itrec, history_run, out, "-k", k, "--seen", seen, "--histories", tmp_path / "a.csv"
        )[0]
        assert {item for item, _ in of_user(table, "new")} == set(known) - set(gone)


def test_whoever_has_nothing_known_gets_the_most_popular_items(history_run, itrec, tmp_path):
    items = restore(history_run).items
    rows = [(FOREIGN, "nowhere", 3, 1.0), ("known", items.source_ids[4], 3, 1.0)]
    rows += [("known", "elsewhere", 9, 2.0)]
    file = write(tmp_path / "events.parquet", rows)
    table, shown = served(
        itrec, history_run, tmp_path / "top.parquet", "--histories", file,
        "--without", items.source_ids[0],
    )  # fmt: skip
    assert shown == (
        "recommendations for 2 users (1 of whom no event is known got the most popular items): "
        f"{tmp_path / 'top.parquet'}\nskipped 2 events of 2 items unknown to the model\n"
    )
    order = np.lexsort((np.arange(len(items)), -items.num_train_targets))
    popular = [items.source_ids[i] for i in order if i][:5]
    assert [item for item, _ in of_user(table, FOREIGN)] == popular
    counts = dict(zip(items.source_ids, items.num_train_targets.tolist(), strict=True))
    assert [score for _, score in of_user(table, FOREIGN)] == [counts[item] for item in popular]
    assert [item for item, _ in of_user(table, "known")] != popular
    assert not {items.source_ids[0], items.source_ids[4]} & {i for i, _ in of_user(table, "known")}


def test_a_list_of_items_is_a_history_and_is_printed(history_run, itrec, tmp_path):
    restored = restore(history_run)
    known = restored.items.source_ids
    mean = restored.manifest.rating_mean
    chosen = [known[7], known[3], known[7]]
    file = write(tmp_path / "one.csv", [("x", item, 1, mean) for item in chosen])
    expected = of_user(
        served(itrec, history_run, tmp_path / "a.parquet", "--histories", file)[0], "x"
    )
    code, shown, err = itrec("recommend", history_run, "--items", ", ".join([*chosen, "zz"]))
    assert (code, err) == (0, "")
    *lines, last = shown.splitlines()
    assert last == "skipped 1 event of 1 item unknown to the model"
    titles = dict(zip(known, restored.items.titles, strict=True))
    assert [line.split(maxsplit=3) for line in lines] == [
        [str(rank), f"{score:.4f}", item, titles[item]]
        for rank, (item, score) in enumerate(expected, start=1)
    ]
    table, shown = served(itrec, history_run, tmp_path / "b.parquet", "--items", ",".join(chosen))
    assert [row["item"] for row in table.to_pylist()] == [item for item, _ in expected]
    assert shown.endswith(f"recommendations for 1 user: {tmp_path / 'b.parquet'}\n")
    code, shown, _ = itrec(
        "recommend", history_run, "--items", known[3], "--among", known[3], "-k", 1
    )
    assert (code, shown) == (0, "0 of 1 items: the history has the others\n")


@pytest.mark.parametrize("form", ["list", "txt", "csv"])
def test_only_what_is_allowed_is_recommended_in_the_order_of_all(form, trained, itrec, tmp_path):
    known = restore(trained).items.source_ids
    allowed = [*known[10:40:3], "unheard of"]
    given = ",".join(allowed)
    if form != "list":
        given = str(tmp_path / f"allowed.{form}")
        if form == "txt":
            Path(given).write_text("\n".join(allowed) + "\n", encoding="utf-8")
        else:
            write(Path(given), [("x", item) for item in allowed])
    everything, _ = served(itrec, trained, tmp_path / "a.parquet", "-k", len(known))
    some, shown = served(
        itrec, trained, tmp_path / "b.parquet", "-k", 8, "--among", given, "--without", allowed[0]
    )
    assert shown.startswith("--among: 1 of 11 items is unknown\n")
    left = set(allowed[1:])
    found = by_user(some)
    for user, rows in by_user(everything).items():
        assert found[user] == [row for row in rows if row[0] in left][:8]


def test_a_model_of_windows_says_whom_it_has_not_learned_to_serve(trained, itrec, tmp_path):
    known = restore(trained).items.source_ids
    length = manifests.read(trained).input_length
    rows = [("short", item, time, 4.0) for time, item in enumerate(known[: length - 1])]
    rows += [("long", item, time, 4.0) for time, item in enumerate(known[:length])]
    file = write(tmp_path / "events.parquet", rows)
    table, shown = served(itrec, trained, tmp_path / "top.parquet", "--histories", file)
    assert shown.startswith("recommendations for 2 users (1 has fewer events than the windows")
    assert len(of_user(table, "short")) == len(of_user(table, "long")) == 5


def test_the_configured_default_is_that_of_the_evaluation(history_run, itrec, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(history_run, run)
    config = run / "checkpoints" / "best" / "config.yaml"
    text = config.read_text()
    assert "  seen: null\n" in text
    config.write_text(text.replace("  seen: null\n", "  seen: none\n"))
    reseal(config.parent)
    known = restore(run).items.source_ids
    code, shown, _ = itrec("recommend", run, "--items", known[0], "-k", len(known))
    assert (code, len(shown.splitlines())) == (0, len(known))
    code, shown, _ = itrec(
        "recommend", run, "--items", known[0], "-k", len(known), "--seen", "history"
    )
    assert code == 0
    assert len(shown.splitlines()) == len(known)  # of which one says that an item is missing
    assert shown.endswith(f"\n{len(known) - 1} of {len(known)} items: the history has the others\n")


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ([("u", "nowhere", 1, 2.0)], [], "knows none of the 1 items in"),
        ([("u", "nowhere", 1)], [], "has no column 'rating', its columns are user, item, timest"),
        ([("u",)], [], "has no column 'item', its columns are user: name them as in the table"),
        (None, ["--items", "nowhere"], "knows none of the items nowhere"),
        (None, ["--items", ","], "names no item"),
        (None, ["--items", "1", "--histories", "x.csv"], "give one of them"),
        (None, ["--histories", "gone.csv"], "there is no file gone.csv"),
        (None, ["--histories", "gone.xls"], "there is no file gone.xls"),
        (None, ["--among", "gone.txt"], "gone.txt cannot be read"),
        (None, ["--among", "nowhere"], "--among names no item that the model knows"),
        (None, ["--among", "{0},{1},{2}"], "-k 5 is not between 1 and the 3 items that --among"),
        (None, ["--seen", "all"], "seen"),
    ],
)
def test_mistakes_cost_one_sentence_and_leave_nothing(
    rows, more, words, history_run, itrec, tmp_path
):
    known = restore(history_run).items.source_ids
    given = [word.format(*known) for word in more]
    if rows is not None:
        given += ["--histories", write(tmp_path / "events.parquet", rows)]
    out = tmp_path / "out" / "top.parquet"
    code, _, err = itrec("recommend", history_run, "--out", out, *given)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not out.parent.exists()


def test_without_a_place_to_write_and_without_items_nothing_is_computed(history_run, itrec):
    code, _, err = itrec("recommend", history_run)
    assert code == 2
    assert err == "itrec: error: --out is missing: give the Parquet file to write\n"


def test_the_columns_are_those_that_windowing_was_given(history_run, tmp_path):
    names = {"user": "who", "item": "what", "timestamp": "when", "order": "line", "title": "name"}
    described = replace(
        manifests.read(history_run), source={"columns": names | {"rating": None}}, has_ratings=False
    )
    file = tmp_path / "events.csv"
    file.write_text(
        "what,when,who,line\nb,2020-01-02,u,1\na,2020-01-01,u,1\nd,2020-01-02,007,9\n"
        "c,2020-01-02,007,2\na,2020-01-02,u,0\n"
    )
    events = read_events(file, described)
    assert events.users == ("u", "007")
    assert events.offsets.tolist() == [0, 3, 5]
    assert events.items == ("a", "a", "b", "c", "d")
    day = 86_400 * 10**6
    assert np.diff(events.times).tolist() == [day, 0, 0, 0]
    once = replace(described, settings={"repeats": "last"})
    assert read_events(file, once).items == ("a", "b", "c", "d")
