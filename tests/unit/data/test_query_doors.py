"""Tables, views and queries of databases: types, the order of rows, and what is refused."""

import sqlite3
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from itrec_dist.data.sources.table import TableColumns
from tests.doors import read, refusal, written


def test_columns_of_sqlite_with_unlike_types(tmp_path):
    lite = sqlite3.connect(tmp_path / "t.db")
    lite.execute('create table "my events" (user, item, timestamp)')
    rows = [("7", 1, 1), (7, "x", 2.5), (b"caf\xc3\xa9", 2, 3), ("007", 3, 4), ("007", 4, 5)]
    lite.executemany('insert into "my events" values (?, ?, ?)', rows)
    lite.executemany('insert into "my events" values (?, ?, ?)', [("7", 8, 9), ("7", 9, 9)])
    lite.commit()
    lite.close()
    read(tmp_path, tmp_path / "t.db")
    users = pq.read_table(tmp_path / "out" / "users.parquet")["source_id"].to_pylist()
    assert users == ["7", "007", "café"]
    items = pq.read_table(tmp_path / "out" / "items.parquet")["source_id"].to_pylist()
    assert items == ["1", "2", "3", "4", "8", "9", "x"]


@pytest.fixture(scope="module")
def tied(tmp_path_factory) -> Path:
    """Tables and views in which a user has several events at one time."""
    folder = tmp_path_factory.mktemp("tied")
    rows = "values ('a', 'x', 5), ('a', 'y', 5), ('a', 'z', 5)"
    database = duckdb.connect(str(folder / "t.duckdb"))
    database.execute(f'create table e as select * from ({rows}) t("user", item, timestamp)')
    database.execute("create view v as from e; create table once as from e limit 1")
    database.close()
    lite = sqlite3.connect(folder / "t.db")
    lite.execute("create table e (user, item, timestamp)")
    lite.execute(f"insert into e {rows}")
    lite.execute("create view v as select * from e")
    lite.execute("create table w (user, item primary key, timestamp) without rowid")
    lite.execute(f"insert into w {rows}")
    lite.commit()
    lite.close()
    return folder


@pytest.mark.parametrize(
    ("name", "table"), [("t.duckdb", "v"), ("t.db", "v"), ("t.db", "w"), ("t.duckdb", None)]
)
def test_ties_without_an_order_of_rows_are_refused(tied, tmp_path, name, table):
    given = {"table": table}
    if table is None:
        given = {"query": written(tmp_path / "q.sql", "select * from e")}
    words = "gives user a 3 events at 5 and no order of them: give --columns.order, or a --query"
    assert words in refusal(tmp_path, tied / name, **given)


def items_of_the_window(folder: Path) -> list[str]:
    names = pq.read_table(folder / "out" / "items.parquet")["source_id"].to_pylist()
    (row,) = pq.read_table(folder / "out" / "train").to_pylist()
    return [names[i - 1] for i in (*row["item_ids"], *row["target_ids"])]


@pytest.mark.parametrize("name", ["t.duckdb", "t.db"])
def test_ties_keep_the_order_of_insertion_or_of_the_query(tied, tmp_path, name):
    read(tmp_path, tied / name, table="e")
    assert items_of_the_window(tmp_path) == ["x", "y", "z"]
    query = written(tmp_path / "q.sql", "from e order by timestamp, item desc")
    read(tmp_path, tied / name, query=query)
    assert items_of_the_window(tmp_path) == ["z", "y", "x"]
    query = written(tmp_path / "q.sql", "select *, -rank() over (order by item) as n from e")
    read(tmp_path, tied / name, query=query, columns=TableColumns(order="n"))
    assert items_of_the_window(tmp_path) == ["z", "y", "x"]
    assert "no order of them" in refusal(
        tmp_path / "new", tied / name, query=written(tmp_path / "q.sql", "select *, 1 as n from e"),
        columns=TableColumns(order="n"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("selec 1", "q.sql is not one SELECT of DuckDB: syntax error at or near"),
        ("delete from e", "q.sql is not one SELECT of DuckDB: it is another statement"),
        ("", "q.sql holds 0 statements: give one SELECT"),
        ("select 1; select 2", "q.sql holds 2 statements: give one SELECT"),
        ("from e where false", "q.sql gives no rows"),
        ("from missing", "q.sql cannot be run (Catalog Error): Table with name missing does not"),
        ("select usr from e", 'q.sql cannot be run (Binder Error): Referenced column "usr" not'),
        ("select user, item from e order by 1", "q.sql has no column 'timestamp', its columns are"),
        ("select *, user from e order by 1", "q.sql has 2 columns 'user'"),
    ],
)
def test_queries_that_cannot_be_used(tied, tmp_path, text, words):
    assert words in refusal(tmp_path, tied / "t.duckdb", query=written(tmp_path / "q.sql", text))
