"""Postgres and MariaDB as inputs, each a real server that is started for these tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from itrec_dist.data.doors.servers import has_order
from itrec_dist.storage.uri import Uri
from tests import servers
from tests.doors import EVENTS, read, refusal, written


@pytest.mark.parametrize(
    ("text", "is_ordered"),
    [
        ("select * from e order by a", True),
        ("SELECT 1 ORDER\n BY 1 limit 3", True),
        ("select * from (select * from e order by a) as f", False),
        ("select rank() over (order by (a)) from e", False),
        ("with f as (select 1 order by 1) select * from f -- order by a", False),
        ("select 'it''s ( order by', \"order by\", `order by` from e /* order by */", False),
        ("select ')' from e order by (select max(a) from e)", True),
        ("select $q$ order by $q$, reorder by_name from e", False),
    ],
)
def test_a_query_is_ordered_by_its_last_order_alone(text, is_ordered):
    assert has_order(text) is is_ordered


@dataclass(frozen=True)
class Running:
    """A server in the environment, with the tables of the tests."""

    kind: str
    uri: Uri
    run: Callable[..., None]


def _in_postgres(where: dict[str, str]) -> Callable[..., None]:
    from adbc_driver_postgresql import dbapi

    address = f"postgresql:///{servers.DATABASE}"
    connection = dbapi.connect(address, autocommit=True)

    def run(statement: str, rows: list[tuple[Any, ...]] | None = None) -> None:
        with connection.cursor() as cursor:
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.executemany(statement.replace("%s", "${}").format(1, 2, 3, 4), rows)

    return run


def _in_mariadb(where: dict[str, str]) -> Callable[..., None]:
    import pymysql

    connection = pymysql.connect(
        read_default_file=f"{where['HOME']}/.my.cnf", user=servers.USER,
        password=servers.PASSWORD, database=servers.DATABASE, autocommit=True, charset="utf8mb4",
    )  # fmt: skip

    def run(statement: str, rows: list[tuple[Any, ...]] | None = None) -> None:
        with connection.cursor() as cursor:
            if rows is None:
                cursor.execute(statement.replace('"', "`"))
            else:
                cursor.executemany(statement.replace('"', "`"), rows)

    return run


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def server(request) -> Iterator[Running]:
    is_postgres = request.param == "postgresql"
    pytest.importorskip(
        "adbc_driver_postgresql" if is_postgres else "pymysql", reason="pip install -e '.[dev]'"
    )
    with (
        servers.postgres() if is_postgres else servers.mariadb() as where,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in where.items():
            patch.setenv(name, value)
        run = (_in_postgres if is_postgres else _in_mariadb)(where)
        time = "timestamp" if is_postgres else "datetime"
        run(f'create table events ("user" varchar(9), item int, "timestamp" {time}, shop text)')
        rows = [tuple(row.values()) for row in EVENTS.to_pylist()]
        cast = "cast(%s as timestamp)" if is_postgres else "%s"
        run(f"insert into events values (%s, %s, {cast}, %s)", rows)
        run("create view newest as select * from events")
        run('create table "Événements 1" as select * from events where item < 0')
        yield Running(request.param, Uri(f"{request.param}:///{servers.DATABASE}"), run)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("wanted")
    pq.write_table(EVENTS, folder / "t.parquet")
    return read(folder, folder / "t.parquet").fingerprint


def ids(folder: Path, name: str) -> list[str]:
    found: list[str] = pq.read_table(folder / "out" / f"{name}.parquet")["source_id"].to_pylist()
    return found


@pytest.mark.slow
def test_a_server_gives_the_fingerprint_of_a_file(server, wanted, tmp_path):
    made = read(tmp_path, server.uri, table="events")
    assert made.fingerprint == wanted
    assert made.source["path"] == str(server.uri)
    assert servers.PASSWORD not in (tmp_path / "out" / "manifest.json").read_text()
    assert read(tmp_path, server.uri, table="newest").fingerprint == wanted
    text = "-- the server's own SQL\nselect * from events order by 3; -- in time\n"
    query = written(tmp_path / "q.sql", text)
    made = read(tmp_path, server.uri, query=query)
    assert made.fingerprint == wanted
    assert [file["name"] for file in made.source["files"]] == ["q.sql"]


@pytest.mark.slow
def test_what_a_server_refuses_is_one_sentence_without_a_password(server, tmp_path, monkeypatch):
    uri, kind = server.uri, "Postgres" if server.kind == "postgresql" else "MySQL"
    assert "holds 3 tables (" in refusal(tmp_path, uri)
    assert "has no table 'x', its tables are " in refusal(tmp_path, uri, table="x")
    assert "give it alone" in refusal(tmp_path, uri, table="events", glob=True)
    empty = refusal(tmp_path, uri, table="Événements 1")
    assert f"table Événements 1 of {uri} has no" in empty or "holds no" in empty, empty
    for text, words in (
        ("delete from events", "q.sql "),
        ("select *\nfrom missing", "q.sql cannot be read: "),
        ("selec 1", f"q.sql cannot be read: {kind} says: "),
        ("select 1; select 2", "q.sql cannot be read: "),
        ("-- nothing\n;", "q.sql holds 0 statements: give one SELECT"),
        ("select * from events where item < 0", "q.sql gives no rows"),
        ("select item from events", "q.sql has no column 'user', its columns are item"),
    ):
        query = written(tmp_path / "q.sql", text)
        assert words in refusal(tmp_path, uri, query=query), text
    monkeypatch.setenv("PGPASSWORD", "wr0ng-word")
    monkeypatch.setenv("MYSQL_PWD", "wr0ng-word")
    wrong = refusal(tmp_path, uri, table="events")
    assert f"cannot be reached as a {kind} database (" in wrong
    assert "wr0ng-word" not in wrong
    down = Uri(f"{server.kind}://127.0.0.1:9/shop")
    assert f"cannot be reached as a {kind} database (" in refusal(tmp_path, down, table="events")


@pytest.mark.slow
def test_rows_of_a_server_have_no_order(server, tmp_path):
    server.run('create table tied ("user" varchar(9), item varchar(9), "timestamp" int)')
    server.run("insert into tied values ('a', 'x', 5), ('a', 'z', 5), ('a', 'y', 5)")
    assert "no order of them" in refusal(tmp_path, server.uri, table="tied")
    query = written(tmp_path / "q.sql", "select * from tied order by 3, 2 desc")
    read(tmp_path, server.uri, query=query)
    names = ids(tmp_path, "items")
    (row,) = pq.read_table(tmp_path / "out" / "train").to_pylist()
    assert [names[i - 1] for i in (*row["item_ids"], *row["target_ids"])] == ["z", "y", "x"]
    server.run("drop table tied")


def read_column(server: Running, folder: Path, kind: str, values: list[str]) -> list[str]:
    """The ids of items whose column is of a type of the server, of literals in its SQL."""
    server.run(f'create table odd ("user" int, item {kind}, "timestamp" int, other varchar(9))')
    try:
        for number, value in enumerate(values):
            server.run(f"insert into odd values (1, {value}, {number}, 'é漢')")
        read(folder, server.uri, table="odd")
    finally:
        server.run("drop table odd")
    return ids(folder, "items")


UUID = "f7ad5f9a-ebe6-4a4c-bdea-2798c67d9f2c"


@pytest.mark.slow
def test_ids_of_any_type_are_what_the_server_shows(server, tmp_path):
    same = {
        "bigint": ["9007199254740993"], "numeric(20,2)": ["5.00", "12345678901234567"],
        "char(4)": ["'ab'"], "text": ["'ü'", "'  x '"], "date": ["'2020-01-02'"],
    }  # fmt: skip
    own = {
        "postgresql": {
            "numeric": ["5", "70.50"], "uuid": [f"'{UUID}'"], "jsonb": ["'{\"a\": [1]}'"],
            "inet": ["'10.0.0.1'"], "mood": ["'fine'"], "boolean": ["true"],
            "timestamptz": ["'2020-01-02 03:00:00+02'"],
        },
        "mysql": {
            "bigint unsigned": ["18446744073709551615"], "bit(4)": ["b'101'"], "year": ["2020"],
            "enum('fine')": ["'fine'"], "time": ["'25:00:00'"], "json": ["'[1]'"],
            "timestamp": ["'2020-01-02 01:00:00'"], "blob": ["'ab'"],
        },
    }[server.kind]  # fmt: skip
    shown = {
        "5.00": "5", "70.50": "70.5", "b'101'": "5", "25:00:00": "1 day, 1:00:00",
        "2020-01-02 03:00:00+02": "2020-01-02 01:00:00+00", "10.0.0.1": "10.0.0.1/32",
    }  # fmt: skip
    if server.kind == "postgresql":
        server.run("create type mood as enum ('fine')")
    else:
        server.run("set time_zone = '+00:00'")
    for kind, values in (same | own).items():
        padded = [*values, *values, *values]  # a user needs some events
        found = read_column(server, tmp_path, kind, padded)
        bare = [value.strip("'") if value.startswith("'") else value for value in values]
        assert sorted(found) == sorted(shown.get(v, v) for v in bare), kind


@pytest.mark.slow
def test_a_time_that_is_none_is_refused(server, tmp_path):
    value = "'infinity'" if server.kind == "postgresql" else "'0000-00-00'"
    kind = "timestamptz" if server.kind == "postgresql" else "datetime"
    if server.kind == "mysql":
        server.run("set sql_mode = ''")
    server.run(f'create table never ("user" int, item int, "timestamp" {kind})')
    server.run(f"insert into never values (1, 1, '2020-01-01'), (1, 2, {value})")
    assert "has no timestamp" in refusal(tmp_path, server.uri, table="never")
    server.run("drop table never")


@pytest.mark.slow
def test_numbers_of_a_server_are_its_numbers(server, tmp_path):
    from itrec_dist.data.sources.table import TableColumns

    server.run('create table rated ("user" int, item int, "timestamp" double precision, r numeric)')
    server.run("insert into rated values (1, 1, 1.5, 4.5), (1, 2, 2.5, 3), (1, 3, 3.25, 1)")
    if server.kind == "mysql":  # where numeric has no decimals unless it is told to
        server.run("alter table rated modify r numeric(3, 1)")
        server.run("update rated set r = 4.5 where item = 1")
    read(tmp_path, server.uri, table="rated", columns=TableColumns(rating="r"))
    (row,) = pq.read_table(tmp_path / "out" / "train").to_pylist()
    assert [Decimal(str(value)) for value in row["ratings"]] == [Decimal("4.5"), Decimal(3)]
    server.run("drop table rated")
