"""Tables without users, times, or a stated unit: what is read, or one sentence."""

from pathlib import Path
from typing import Any

import pytest

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.options import baselines as baseline_options
from itrec_dist.tasks import summary
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.unit.data.test_table_types import column, read, refusal

VIEWS = """visitor,session,item,place,day
NA,1,x,30,2016-05-09
,1,y,10,2016-05-09
7,2,x,5,2016-05-09
7,2,y,4,2016-05-08
1,3,y,1.5,2016-05-09
NA,7,x,1,2016-05-09
NA,7,z,0,2016-05-09
"""
SESSIONS = TableColumns(user="visitor", session="session", timestamp="day", order="place")


def views(folder: Path, text: str = VIEWS) -> Path:
    path = folder / "views.csv"
    path.write_text(text)
    return path


def order_of(path: Path, table: TableConfig) -> list[tuple[str, str]]:
    """User and item of the events in their order, times before rows."""
    rows = read(path, table)
    ordered = sorted(enumerate(rows), key=lambda r: (r[1]["event_time"], r[0]))
    return [(row["user_source_id"], row["item_source_id"]) for _, row in ordered]


def test_a_row_without_a_user_belongs_to_its_session(tmp_path):
    found = order_of(views(tmp_path), TableConfig(columns=SESSIONS))
    by_user: dict[str, list[str]] = {}
    for user, item in found:
        by_user.setdefault(user, []).append(item)
    assert by_user == {
        "session:1": ["y", "x"],  # by place within the day
        "session:7": ["z", "x"],  # not the user 7
        "7": ["y", "x"],  # by day before place
        "1": ["y"],
    }


def test_a_row_with_neither_user_nor_session_is_refused_where_it_stands(tmp_path):
    path = views(tmp_path, VIEWS + "NA,,x,-5,2016-05-09\n")
    assert "views.csv: row 8 has no user" in refusal(path, TableConfig(columns=SESSIONS))


def test_a_user_named_like_nothing_is_doubted(tmp_path):
    columns = TableColumns(user="visitor", timestamp="day")
    path = views(tmp_path, VIEWS.replace("\n,1", "\nNA,1"))
    config = HistoryConfig(protocol="user_disjoint")
    made = histories("table", path, tmp_path / "out", config, TableConfig(columns=columns))
    (doubt, *_) = summary.warnings(made)
    assert doubt.startswith("4 of 7 rows are of the user 'NA': if that means")
    assert "--columns.session" in doubt


@pytest.mark.parametrize(
    ("item", "is_doubted"), [("nan", True), ("NULL", True), ("NA", False), ("nano", False)]
)
def test_an_item_named_like_nothing_is_doubted(item, is_doubted, tmp_path):
    rows = "".join(f"u{n % 3},x{n},{n}\n" for n in range(12))
    path = views(tmp_path, f"user,item,timestamp\n{rows}u0,{item},20\n")
    made = histories("table", path, tmp_path / "out", HistoryConfig(), TableConfig())
    doubts = [text for text in summary.warnings(made) if "rows are of the item" in text]
    assert doubts == [
        f"1 of 13 rows are of the item {item!r}: if that means that there is none, leave these "
        "rows out"
    ] * is_doubted  # fmt: skip


ORDERED = TableColumns(user="session", timestamp=None, order="place")


def test_an_order_takes_the_place_of_times(tmp_path):
    path = views(tmp_path)
    assert column(path, "event_time", TableConfig(columns=ORDERED)) == [0, 1, 2, 3, 4, 5, 6]
    found = order_of(path, TableConfig(columns=ORDERED))
    assert [item for user, item in found if user == "1"] == ["y", "x"]
    assert [item for user, item in found if user == "2"] == ["y", "x"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("a,x,\n", "row 2: the order is missing"),
        ("a,x,nan\n", "row 2: the order is missing"),
        ("a,x,first\n", "row 2: order 'first' is not a number"),
        ("a,x,inf\n", "row 2: order 'inf' is not a number"),
        ("a,x,9007199254740993\n", "row 2: order 9007199254740993 is too large to be exact"),
    ],
)
def test_an_order_that_orders_nothing_is_refused(tmp_path, values, words):
    path = tmp_path / "t.csv"
    path.write_text("user,item,place\na,y,1\n" + values)
    columns = TableColumns(timestamp=None, order="place")
    assert words in refusal(path, TableConfig(columns=columns))


def test_repeats_are_named_by_their_rows_in_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item,day,place\na,x,2020-01-01,9\na,y,2020-01-01,5\na,x,2020-01-01,1\n")
    columns = TableColumns(timestamp="day", order="place")
    assert "rows 3 and 1 both rate item x" in refusal(path, TableConfig(columns=columns))


def ordered(tmp_path: Path) -> Path:
    turned = {"a": "xyzw", "b": "yzwx", "c": "zwxy", "d": "wxyz"}
    lines = [f"{u},{item},{place}" for u, its in turned.items() for place, item in enumerate(its)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["user,item,place", *lines]) + "\n")
    return path


ONLY_ORDER = TableConfig(columns=TableColumns(timestamp=None, order="place"))


def cut(tmp_path: Path, **settings: Any) -> Manifest:
    config = WindowConfig(
        min_user_events=1, input_length=1, target_length=1, top_items=None, **settings
    )
    return window("table", ordered(tmp_path), tmp_path / "out", config, ONLY_ORDER)


@pytest.mark.parametrize("kind", ["windows", "histories"])
def test_a_protocol_by_date_is_refused_without_times(tmp_path, kind):
    with pytest.raises(ConfigError) as caught:
        if kind == "windows":
            cut(tmp_path, protocol="global_time")
        else:
            config = HistoryConfig(protocol="global_time")
            histories("table", ordered(tmp_path), tmp_path / "out", config, ONLY_ORDER)
    assert "protocol global_time cuts at a point in time" in str(caught.value)
    assert "--columns.timestamp, or one of " in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_recent_popularity_is_left_out_without_times(tmp_path, itrec):
    made = cut(tmp_path, protocol="leave_last")
    assert (made.has_order_alone, made.has_times) == (True, False)
    default = baseline_options.baselines_of("next_items").default(made)
    assert "popularity" in default
    assert not {"recent_popularity", "session_starts", "trending"} & set(default)
    asked = ("baselines", "--shards", tmp_path / "out", "--out", tmp_path / "b", "--only")
    code, _, err = itrec(*asked, "recent_popularity")
    assert code == 2
    assert "recent_popularity asks when events happened, and these have an order alone" in err
    assert not (tmp_path / "b").exists()


def timed(folder: Path, *times: Any) -> Path:
    path = folder / "t.csv"
    path.write_text("user,item,timestamp\n" + "".join(f"a,{i},{t}\n" for i, t in enumerate(times)))
    return path


def unit_of(path: Path, unit: Any) -> str:
    from itrec_dist.data.database import Database

    with Database(threads=1) as database:
        return TableConfig(time_unit=unit).stage(database, path).time_unit


@pytest.mark.parametrize(
    ("times", "stated", "found"),
    [
        ((1_460_000_000, 1_460_000_001), "seconds", "seconds"),
        ((1_460_000_000.5, 1_460_000_001), "seconds", "seconds / 1e6"),
        ((0, 1_460_000_000_000), "milliseconds", "milliseconds"),
        ((1_460_000_000, 1_460_000_001), None, "seconds"),
        ((1_460_000_000.5, 1_460_000_001), None, "seconds / 1e6"),
        ((1_460_000_000_000, 1_470_000_000_000), None, "milliseconds"),
        ((1_460_000_000_000_000,), None, "microseconds"),
        ((0, 1), None, ""),
        ((0, 1_460_000_000), None, ""),  # one that is none: the others may be anything
        ((1_460_000_000, 1_460_000_000_000), None, ""),
        ((639_000_000_000_000_000,), None, ""),  # .NET's ticks of 2025
        (("2016-05-09", "2016-05-09 01:00:00+01:00"), None, "microseconds"),
    ],
)
def test_the_unit_of_times_is_known(tmp_path, times, stated, found):
    assert unit_of(timed(tmp_path, *times), stated) == found


@pytest.mark.parametrize(
    ("times", "stated", "words"),
    [
        ((1_460_000_000_000,), "seconds", "year 48236 if it counts seconds from 1970: give "
         "--time_unit milliseconds"),
        ((1_460_000_000,), "milliseconds", "year 1970 if it counts milliseconds from 1970: give "
         "--time_unit seconds"),
        ((5, 90_000), "milliseconds", "year 1970 if it counts milliseconds from 1970: leave "
         "time_unit out"),
        (("2016-05-09",), "seconds", "has dates, and time_unit is seconds"),
    ],
)  # fmt: skip
def test_times_of_another_unit_than_the_stated_one_are_refused(tmp_path, times, stated, words):
    with pytest.raises(DataError) as caught:
        unit_of(timed(tmp_path, *times), stated)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": TableColumns(timestamp=None)}, "columns.timestamp and columns.order are both"),
        ({"columns": ORDERED, "time_unit": "seconds"}, "without times there is no unit"),
    ],
)
def test_settings_that_say_nothing_about_order_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        TableConfig(**settings)
