"""Times of every type and unit: what is kept, or one sentence."""

import decimal

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database
from itrec_dist.data.sources.table import TableConfig
from tests.cases import slow_after
from tests.typed_tables import RATED, column, refusal, write


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("unit", slow_after(1, ["ns", "s", "ms", "us"]))
def test_timestamps_of_every_unit_and_zone_are_microseconds(tmp_path, unit, zone):
    seconds = [1_577_836_800, 1_577_836_801, 1_577_836_802, 1_577_836_803]
    factor = {"s": 1, "ms": 1_000, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([s * factor for s in seconds], pa.timestamp(unit, zone))
    path = write(tmp_path / "t.parquet", timestamp=times)
    assert column(path, "event_time") == [s * 10**6 for s in seconds]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_kept_where_they_tell_events_apart(tmp_path, zone):
    last = pa.array([10**18 + n for n in (3, 2, 1, 0)], pa.timestamp("ns", zone))
    path = write(tmp_path / "t" / "part-0.parquet", timestamp=last)
    assert column(path, "event_time") == [10**18 + n for n in (3, 2, 1, 0)]
    early = pa.array([1, 2, 3, 4], pa.timestamp("us", zone))
    write(tmp_path / "t" / "part-1.parquet", timestamp=early)
    assert column(tmp_path / "t", "event_time")[4:] == [1000, 2000, 3000, 4000]


@pytest.mark.parametrize(
    "times",
    [
        [1.7e9, 1_700_000_000.25, 1.7e9 + 1, 1.7e9 + 2],
        ["1700000000", "1700000000.25", "1700000001", "1700000002"],
        [
            decimal.Decimal(n)
            for n in ("1700000000.00", "1700000000.25", "1700000001", "1700000002")
        ],
    ],
)
def test_fractions_of_a_second_are_kept(tmp_path, times):
    wanted = [1_700_000_000_000_000, 1_700_000_000_250_000]
    assert column(write(tmp_path / "t.parquet", timestamp=times), "event_time")[:2] == wanted


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([1_700_000_000, 1_700_000_001_000, 1_700_000_002, 1_700_000_003], "seconds|milliseconds"),
        (["1700000000.5", "1700000001", "1700000000000", "1700000001"], "seconds|milliseconds"),
        ([1_700_000_000_000, 1_700_000_001_000_000, 1.7e12, 1.7e12], "milliseconds|microseconds"),
        ([0, 1, 2, 1_700_000_000], ""),
        ([1_700_000_000, 1_700_000_001, 1_700_000_002, 1_700_000_003], ""),
    ],
)
def test_times_that_look_like_two_units_are_doubted(tmp_path, times, words):
    path = write(tmp_path / "t.parquet", timestamp=times)
    with Database(threads=1) as database:
        doubts = RATED.stage(database, path).warnings
    assert len(doubts) == bool(words)
    for doubt, (first, last) in zip(doubts, [words.split("|")] if words else [], strict=True):
        assert f"looks like {first} since 1970 and the latest" in doubt
        assert f"like {last}: events are in the order of these numbers" in doubt


def test_whole_floats_stay_as_they_are(tmp_path):
    path = write(tmp_path / "t.parquet", timestamp=[1.0, 2.0, 3.0, 4.0])
    assert column(path, "event_time") == [1, 2, 3, 4]


def test_dates_written_as_text_are_read_only_in_the_order_year_month_day(tmp_path):
    dates = ["2020-01-02", "2020-01-02T00:00:01Z", "2020-01-02 02:00:02+02:00", None]
    day = 1_577_923_200_000_000
    path = write(tmp_path / "t.parquet", timestamp=dates)
    assert "row 4 has no timestamp" in refusal(path)
    dates[3] = "2020-01-02 00:00:03.5"
    path = write(tmp_path / "t.parquet", timestamp=dates)
    assert column(path, "event_time") == [day, day + 10**6, day + 2 * 10**6, day + 3_500_000]
    text = "user,item,timestamp\na,x,01/02/2020\na,y,02/02/2020\n"
    (tmp_path / "t.csv").write_text(text)
    assert "row 1: timestamp '01/02/2020' is neither a number nor a date such as" in refusal(
        tmp_path / "t.csv", TableConfig()
    )


def test_nanoseconds_written_as_text_are_kept_where_there_are_any(tmp_path):
    day, nano = "2020-01-01T00:00:00", 1_577_836_800 * 10**9
    times = [f"{day}.000000003Z", f"{day}.000000002Z", f"{day}.0000001", f"{day}.25"]
    path = write(tmp_path / "t.parquet", timestamp=times)
    assert column(path, "event_time") == [nano + n for n in (3, 2, 100, 25 * 10**7)]
    lines = [f"a,{n},{time}" for n, time in enumerate(times)]
    (tmp_path / "t.csv").write_text("\n".join(["user,item,timestamp", *lines]))
    assert column(tmp_path / "t.csv", "event_time", TableConfig())[:2] == [nano + 3, nano + 2]
    path = write(tmp_path / "t.parquet", timestamp=[f"{day}.1234560000"] * 3 + ["9999-12-31"])
    assert column(path, "event_time")[2] == nano // 1000 + 123_456


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (
            ["2020-01-01 00:00:00.0000000001", "2020-01-01"],
            "row 1: timestamp '2020-01-01 00:00:00.0000000001' cannot be kept in nanoseconds",
        ),
        (["2020-01-01", "9999-01-01 00:00:00.0000001"], "row 2: timestamp '9999-01-01 00:00:00.00"),
        (
            ["2020-01-01 00:00:00.0000001", "9999-01-01"],
            "row 2: timestamp 9999-01-01 00:00:00 is too far from 1970",
        ),
        (
            ["1700000000.12345678", "1700000000.12345679"],
            "row 2: user a has timestamps 1700000000.12345678 and 1700000000.12345679, which",
        ),
    ],
)
def test_times_that_would_become_equal_or_overflow_are_refused(tmp_path, times, words):
    assert words in refusal(write(tmp_path / "t.parquet", timestamp=[*times, times[0], times[0]]))


def test_fractions_beyond_millionths_are_rounded_where_no_two_meet(tmp_path):
    times = ["1700000000.12345678", "1700000000.12345", "1700000001.12345678", "1.50"]
    path = write(tmp_path / "t.parquet", timestamp=times)
    assert column(path, "event_time")[0] == 1_700_000_000_123_457


@pytest.mark.parametrize("kind", [pa.time64("us"), pa.bool_(), pa.list_(pa.int64())])
def test_a_type_that_is_no_time_is_refused(tmp_path, kind):
    path = write(tmp_path / "t.parquet", timestamp=pa.nulls(4, kind))
    assert "column 'timestamp' is of type" in refusal(path)
