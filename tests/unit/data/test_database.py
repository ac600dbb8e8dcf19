import os
import signal
import threading

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database
from itrec_dist.data.doors.files import InputFile
from itrec_dist.data.source_files import SourceColumn
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "numbers.sql").write_text("select n from range($end::bigint) as t (n)")
    (tmp_path / "sorted.sql").write_text("select n from range($end) as t (n) order by hash(n)")
    (tmp_path / "huge.sql").write_text(
        "select list(n::varchar || repeat('x', 500)) as l from range($end) as t (n)"
    )
    (tmp_path / "two.sql").write_text("select 1; select 2")
    return tmp_path


def test_a_table_keeps_the_order_of_its_file_and_streams_it_back(folder):
    with Database(threads=2, folders=[folder]) as database:
        assert database.table("mixed", "sorted", end=100_000) == 100_000
        wanted = database.arrow("sorted", end=100_000)
        found = list(database.stored("mixed", rows_per_batch=10_000))
        assert len(found) > 1
        assert pa.Table.from_batches(found).equals(wanted)
        assert set(database.sql) == {"sorted"}


def test_batches_are_streamed_and_rows_are_dicts(folder):
    with Database(folders=[folder]) as database:
        assert sum(b.num_rows for b in database.batches("numbers", 5_000, end=20_000)) == 20_000
        assert database.rows("numbers", end=2) == [{"n": 0}, {"n": 1}]


def test_too_little_memory_is_an_environment_problem(folder):
    with (
        Database(memory_limit="50MB", threads=1, folders=[folder]) as database,
        pytest.raises(EnvironmentProblem, match="raise --memory_limit"),
    ):
        database.rows("huge", end=1_000_000)


@pytest.mark.parametrize("settings", [{"memory_limit": "lots"}, {"threads": 0}])
def test_limits_that_duckdb_rejects(settings):
    with pytest.raises(ConfigError, match="DuckDB rejects"):
        Database(**settings)


def test_a_file_holds_one_statement(folder):
    with Database(folders=[folder]) as database, pytest.raises(AssertionError, match="not one"):
        database.rows("two")


def test_columns_of_a_csv_are_mapped_by_kind(folder):
    path = folder / "t.csv"
    path.write_text('who,"odd ""name""",when,tags\n01,5,2020-01-01 00:00:00.5,a|b\n')
    columns = {
        "id": SourceColumn("text", ("who",)),
        "number": SourceColumn("number", ('odd "name"',)),
        "time": SourceColumn("time", ("when",)),
        "tags": SourceColumn("lists", ("tags", "who")),
        "absent": SourceColumn("number", ()),
    }
    with Database(folders=[folder]) as database:
        source = database.open([InputFile(path, str(path))])
        assert list(source.parts[0].types) == ["who", 'odd "name"', "when", "tags"]
        assert database.load("loaded", source, columns) == ((str(path), 1),)
        ((row,),) = (b.to_pylist() for b in database.stored("loaded"))
    assert row == {
        "id": "01",
        "number": "5",
        "time": "2020-01-01 00:00:00.5",
        "tags": [["a", "b"], ["01"]],
        "absent": None,
    }


def test_a_file_of_another_kind_is_refused(folder):
    path = folder / "t.parquet"
    path.write_text("no parquet")
    with Database(folders=[folder]) as database, pytest.raises(DataError, match=r"t\.parquet"):
        database.open([InputFile(path, str(path))])


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C as a signal")
@pytest.mark.parametrize("way", ["table", "stream"])
def test_ctrl_c_during_a_query_is_an_interruption(folder, way):
    (folder / "slow.sql").write_text(
        "select sum(hash(a.n) % 7 + hash(b.n) % 7) as n "
        "from range($end) as a (n) cross join range($end) as b (n)"
    )
    with Database(threads=1, folders=[folder]) as database:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            if way == "table":
                database.table("slow", "slow", end=1_000_000)
            else:
                list(database.batches("slow", end=1_000_000))
