"""The same events give the same shards, whatever the file, its types, its name or its parts."""

import csv
import datetime
import gzip
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itrec_dist.data.database import Database
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.tasks.next_items.windows import WindowConfig, window

RATED = TableConfig(columns=TableColumns(rating="rating"))
TINY = WindowConfig(
    min_user_events=1, input_length=1, target_length=1, stride=1, validation_fraction=0.0, threads=1
)
few = settings(
    deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@dataclass(frozen=True)
class Rating:
    user: int
    item: int
    time: int
    rating: float


ratings = st.lists(
    st.builds(
        Rating,
        st.integers(1, 4),
        st.integers(1, 2**40),
        st.integers(0, 9),
        st.sampled_from([0.5, 1.0, 2.5, 5.0]),
    ),
    min_size=2,
    max_size=12,
    unique_by=lambda e: (e.user, e.item, e.time),
)

LETTERS = st.text("ab1[]*?!{}=% é漢'\"#&;,$~-.", min_size=1, max_size=8).filter(
    lambda name: name.strip(". ") == name
)

IDS = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "large text": pa.large_string(),
    "binary": pa.binary(),
    "decimal": pa.decimal128(20, 1),
    "category": pa.dictionary(pa.int32(), pa.string()),
}
NUMBERS = {
    "float": pa.float64(), "half": pa.float32(), "decimal": pa.decimal128(6, 2), "text": pa.string()
}  # fmt: skip


def cast(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An array of the kind from whole numbers or floats."""
    if pa.types.is_dictionary(kind):
        return pa.array(map(str, values)).dictionary_encode()
    if pa.types.is_binary(kind):
        return pa.array([str(value).encode() for value in values], kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array(map(str, values), kind)
    return pa.array(values).cast(kind)


def write_parquet(path: Path, events: list[Rating], ids: str, number: str) -> None:
    """Times are plain seconds."""
    columns = {
        "user": cast([e.user for e in events], IDS[ids]),
        "item": cast([e.item for e in events], IDS[ids]),
        "timestamp": [e.time for e in events],
        "rating": cast([e.rating for e in events], NUMBERS[number]),
    }
    pq.write_table(pa.table(columns), path)


def write_csv(path: Path, events: list[Rating], separator: str, mark: bool, ending: str) -> None:
    """`mark` puts the byte order mark of UTF-8 first, as spreadsheets do."""
    rows = [(e.user, e.item, e.time, e.rating) for e in events]
    lines = [("user", "item", "timestamp", "rating"), *rows]
    text = "".join(separator.join(map(str, line)) + ending for line in lines)
    content = text.encode("utf-8-sig" if mark else "utf-8")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def staged(path: Path) -> list[tuple[Any, ...]]:
    """The keyed events with their ids, in order."""
    with Database(threads=1) as database:
        staging.key_events(database, RATED.stage(database, path))
        tables = {
            name: {row[f"{name}_key"]: row[f"{name}_source_id"] for row in rows_of(database, name)}
            for name in ("user", "item")
        }
        return sorted(
            (
                tables["user"][e["user_key"]], e["raw_place"], tables["item"][e["item_key"]],
                e["event_time"], e["rating"],
            )
            for batch in database.stored("events")
            for e in batch.to_pylist()
        )  # fmt: skip


def rows_of(database: Database, name: str) -> list[dict[str, Any]]:
    return [row for b in database.stored(f"{name}_keys") for row in b.to_pylist()]


def wanted(events: list[Rating]) -> list[tuple[Any, ...]]:
    found = []
    for user in {e.user for e in events}:
        own = sorted((e for e in events if e.user == user), key=lambda e: e.time)  # stable
        found += [(str(user), n, str(e.item), e.time, e.rating) for n, e in enumerate(own)]
    return sorted(found)


@few
@given(events=ratings, ids=st.sampled_from(sorted(IDS)), number=st.sampled_from(sorted(NUMBERS)))
def test_parquet_of_all_types(tmp_path, events, ids, number):
    write_parquet(tmp_path / "t.parquet", events, ids, number)
    assert staged(tmp_path / "t.parquet") == wanted(events)


@few
@given(
    events=ratings,
    separator=st.sampled_from(",;\t|"),
    mark=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    suffix=st.sampled_from([".csv", ".csv.gz"]),
)
def test_csv_of_all_separators_and_endings(tmp_path, events, separator, mark, ending, suffix):
    path = tmp_path / f"t{suffix}"
    write_csv(path, events, separator, mark, ending)
    assert staged(path) == wanted(events)


@few
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        min_size=20,
        max_size=40,
        unique=True,
    ),
    separator=st.sampled_from(",;\t|"),
)
def test_ids_of_any_text(tmp_path, names, separator):
    rows = [(name, f"i{n}", n, 1.0) for n, name in enumerate(names)]
    header = ["user", "item", "timestamp", "rating"]
    pq.write_table(pa.table(list(zip(*rows, strict=True)), names=header), tmp_path / "t.parquet")
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    wanted = sorted((name, 0, item, time, rating) for name, item, time, rating in rows)
    assert staged(tmp_path / "t.parquet") == wanted
    assert staged(tmp_path / "t.csv") == wanted


@few
@given(events=ratings, data=st.data())
def test_parts_of_any_number_and_types(tmp_path, events, data):
    folder = tmp_path / "parts"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=11).map(sorted))
    bounds = [0, *cuts, len(events)]
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        ids, kind = (data.draw(st.sampled_from(sorted(kinds))) for kinds in (IDS, NUMBERS))
        write_parquet(folder / f"part-{number}.parquet", events[start:stop], ids, kind)
    assert staged(folder) == wanted(events)


@few
@given(events=ratings, folder=LETTERS, name=LETTERS, suffix=st.sampled_from([".csv", ".parquet"]))
def test_names_of_files_and_folders(tmp_path_factory, events, folder, name, suffix):
    place = tmp_path_factory.mktemp("named") / folder
    place.mkdir()
    for other in ("a", "b", "1"):  # what a pattern could match
        write_csv(place / f"{other}.csv", [Rating(99, 1, 1, 1.0)], ",", False, "\n")
        write_parquet(place / f"{other}.parquet", [Rating(99, 1, 1, 1.0)], "int", "float")
    path = place / f"{name}{suffix}"
    if suffix == ".csv":
        write_csv(path, events, ",", False, "\n")
    else:
        write_parquet(path, events, "int", "float")
    assert staged(path) == wanted(events)


@few
@given(
    quarters=st.lists(st.integers(0, 40), min_size=3, max_size=8, unique=True),
    way=st.sampled_from(["float", "text", "decimal", "s", "ms", "us", "ns", "iso"]),
    zone=st.sampled_from([None, "UTC", "Asia/Tokyo"]),
)
def test_times_of_all_types_have_one_order_and_one_unit(tmp_path, quarters, way, zone):
    if way == "s":
        quarters = [4 * quarter for quarter in quarters]
    microseconds = [quarter * 250_000 for quarter in quarters]
    seconds = [quarter / 4 for quarter in quarters]
    if way in ("s", "ms", "us", "ns"):
        factor = {"s": 10**6, "ms": 1000, "us": 1}.get(way)
        values = [m * 1000 if factor is None else m // factor for m in microseconds]
        times = pa.array(values, pa.timestamp(way, zone))
    elif way == "iso":
        start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        times = pa.array(
            [(start + datetime.timedelta(microseconds=m)).isoformat() for m in microseconds]
        )
    else:
        kinds = {"float": pa.float64(), "text": pa.string(), "decimal": pa.decimal128(12, 4)}
        times = cast(seconds, kinds[way])
        if all(math.floor(second) == second for second in seconds):
            microseconds = [int(second) for second in seconds]  # whole numbers stay as they are
    rows = len(quarters)
    columns = {"user": ["u"] * rows, "item": list("abcdefgh")[:rows], "timestamp": times}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns | {"rating": [1.0] * rows}), path)
    assert [row[3] for row in staged(path)] == sorted(microseconds)


def test_every_door_gives_the_same_fingerprint(tmp_path):
    events = [Rating(n % 4 + 1, n % 7 + 1, n // 3, 0.5 + n % 5) for n in range(60)]
    write_parquet(tmp_path / "ints.parquet", events, "int", "float")
    write_parquet(tmp_path / "text [1]*.parquet", events, "category", "half")
    write_csv(tmp_path / "t.csv", events, ";", True, "\r\n")
    folder = tmp_path / "user=9" / "parts"
    folder.mkdir(parents=True)
    for number, ids in enumerate(["float", "int", "binary", "text"] * 3):
        part = events[number * 5 : number * 5 + 5]
        write_parquet(folder / f"part-{number}.parquet", part, ids, "float")
    doors = [tmp_path / n for n in ("ints.parquet", "text [1]*.parquet", "t.csv")] + [folder]
    made = {
        window("table", door, tmp_path / "out", TINY, RATED, overwrite=True).fingerprint
        for door in doors
    }
    assert len(made) == 1
