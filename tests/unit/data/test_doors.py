"""The same rows through every door give the same shards; what is no door is one sentence."""

import gzip
import json
import shutil
import sqlite3
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import duckdb
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.tasks.next_items.windows import window
from tests import object_store
from tests.cases import slow_after
from tests.doors import EVENTS, TINY, read, refusal, written


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The events as every kind of file and database."""
    folder = tmp_path_factory.mktemp("doors")
    pq.write_table(EVENTS, folder / "t.parquet")
    pc.write_csv(EVENTS, folder / "t.csv")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    lines = "\n".join(json.dumps(row) for row in EVENTS.to_pylist())
    written(folder / "t.jsonl", lines)
    for name in ("t.csv", "t.jsonl"):
        with pa.CompressedOutputStream(folder / f"{name}.zst", "zstd") as packed:
            packed.write((folder / name).read_bytes())
    for number, start in enumerate(range(0, 48, 4)):
        day = folder / "days" / f"2020-{start // 24}"
        day.mkdir(parents=True, exist_ok=True)
        pc.write_csv(EVENTS.slice(start, 4), day / f"part-{number}.csv")
    pq.write_to_dataset(EVENTS, folder / "hive", partition_cols=["shop", "user"])
    database = duckdb.connect(str(folder / "shop.duckdb"))
    database.register("given", EVENTS)
    database.execute(
        "create table events as from given; create view newest as from events;"
        "create schema old; create table old.events as from given where false"
    )
    database.close()
    lite = sqlite3.connect(folder / "shop.db")
    lite.execute("create table events (user text, item integer, timestamp text, shop text)")
    rows = [tuple(row.values()) for row in EVENTS.to_pylist()]
    lite.executemany("insert into events values (?, ?, ?, ?)", rows)
    lite.commit()
    lite.close()
    written(folder / "events.sql", "select * from events order by timestamp; -- in time")
    written(folder / "input.sql", "select * from input order by timestamp")
    return folder


@pytest.fixture(scope="module")
def wanted(data, tmp_path_factory) -> str:
    return read(tmp_path_factory.mktemp("wanted"), data / "t.parquet").fingerprint


DOORS = {
    "csv": ("t.csv", {}),
    "gzip": ("t.csv.gz", {}),
    "zstd": ("t.csv.zst", {}),
    "lines": ("t.jsonl", {}),
    "packed lines": ("t.jsonl.zst", {}),
    "pattern": ("days/*/part-*.csv", {"glob": True}),
    "deep pattern": ("**/part-*[0-9].csv", {"glob": True}),
    "hive": ("hive", {"hive": True}),
    "duckdb": ("shop.duckdb", {"table": "main.events"}),
    "view": ("shop.duckdb", {"table": "newest"}),
    "sqlite": ("shop.db", {"table": "events"}),
    "only table": ("shop.db", {}),
    "query": ("shop.duckdb", {"query": "events.sql"}),
    "query of sqlite": ("shop.db", {"query": "events.sql"}),
    "query of a file": ("t.csv.zst", {"query": "input.sql"}),
    "query of lines": ("t.jsonl", {"query": "input.sql"}),
}


@pytest.mark.parametrize("door", slow_after(6, sorted(DOORS)))
def test_every_door_gives_one_fingerprint(data, wanted, tmp_path, door):
    name, given = DOORS[door]
    if "query" in given:
        given = {"query": data / given["query"]}
    assert read(tmp_path, data / name, **given).fingerprint == wanted


def test_several_files_are_read_in_their_order(data, wanted, tmp_path):
    days = sorted(data.glob("days/*/*"), key=lambda path: int(path.stem.rpartition("-")[2]))
    first = tmp_path / "first.parquet"
    pq.write_table(EVENTS.slice(0, 8), first)
    made = read(tmp_path, [first, *days[2:]])
    assert made.fingerprint == wanted
    assert [file["name"] for file in made.source["files"]][:2] == ["first.parquet", "part-2.csv"]
    assert made.source["path"].startswith(f"{first}, {days[2]}")


def test_a_recipe_may_name_several_files(data, wanted, tmp_path, itrec):
    halves = [tmp_path / "a [1].parquet", tmp_path / "b.parquet"]
    for start, path in zip((0, 24), halves, strict=True):
        pq.write_table(EVENTS.slice(start, 24), path)
    recipe = tmp_path / "r.yaml"
    settings = TINY.__dict__ | {"source": "table", "input": list(map(str, halves))}
    recipe.write_text(json.dumps(settings))
    shards = tmp_path / "out"
    assert itrec("window", "--config", recipe, "--out", shards)[0] == 0
    assert manifests.read(shards).fingerprint == wanted
    given = ("window", "--config", recipe, "--out", shards, "--overwrite", "--input", *halves)
    assert itrec(*given)[0] == 0
    code, printed, _ = itrec("window", "--config", recipe, "--out", shards, "--print-config")
    assert code == 0
    recipe.write_text(printed)
    assert itrec("window", "--config", recipe, "--overwrite")[0] == 0
    assert manifests.read(shards).fingerprint == wanted


def test_the_manifest_says_how_it_was_read(data, tmp_path):
    source = read(tmp_path, data / "shop.duckdb", query=data / "events.sql").source
    assert source["query"] == "events.sql"
    assert [file["name"] for file in source["files"]] == ["shop.duckdb", "events.sql"]
    source = read(tmp_path, data / "hive", hive=True).source
    assert source["hive"] is True
    assert "glob" not in source


# Files.


def test_hive_values_are_text_and_only_of_folders_below(tmp_path):
    folder = tmp_path / "user=wrong" / "lake"
    for key, item in (("user=007", 1), ("user=7", 2), ("user=a%2Fb%20c", 3)):
        (folder / key).mkdir(parents=True)
        pq.write_table(
            pa.table({"item": [item, 9, 8], "timestamp": [1, 2, 3]}), folder / key / "p.parquet"
        )
    written(folder / "_metadata.csv", "x")
    read(tmp_path, folder, hive=True)
    users = pq.read_table(tmp_path / "out" / "users.parquet")["source_id"].to_pylist()
    assert users == ["7", "007", "a/b c"]


def test_a_hive_key_that_is_also_a_column_is_refused(data, tmp_path):
    (tmp_path / "user=a").mkdir()
    pq.write_table(EVENTS, tmp_path / "user=a" / "t.parquet")
    assert "has a column 'user' and so has its folder" in refusal(tmp_path, tmp_path, hive=True)
    (tmp_path / "x=__HIVE_DEFAULT_PARTITION__").mkdir()
    pq.write_table(EVENTS.drop(["user"]), tmp_path / "user=a" / "t.parquet")
    assert read(tmp_path, tmp_path, hive=True).num_users == 1


def test_brackets_are_part_of_a_name_without_glob(data, tmp_path):
    rows = "user,item,timestamp\nright,1,1\nright,2,2\nright,3,3\n"
    path = written(tmp_path / "t[1].csv", rows)
    written(tmp_path / "t1.csv", rows.replace("right", "wrong"))
    read(tmp_path, [path, written(tmp_path / "u.csv", "user,item,timestamp\n")])
    users = pq.read_table(tmp_path / "out" / "users.parquet")["source_id"].to_pylist()
    assert users == ["right"]


def test_text_in_lines_stays_text(tmp_path):
    rows = [("007", 1.0, "2020-01-01 00:00:00.000000002"), ("007", 7, "2020-01-01 00:00:00")]
    lines = [json.dumps({"user": u, "item": i, "timestamp": t}) for u, i, t in rows]
    path = written(tmp_path / "t.jsonl", "\n".join([*lines, lines[0].replace("1.0", "10"), ""]))
    repeated = read(tmp_path, path)
    assert repeated.num_users == 1
    assert pq.read_table(tmp_path / "out" / "users.parquet")["source_id"].to_pylist() == ["007"]
    items = pq.read_table(tmp_path / "out" / "items.parquet")["source_id"].to_pylist()
    assert items == ["1", "7", "10"]


def test_a_bad_row_of_several_text_files_is_named_by_its_file(tmp_path):
    first = written(tmp_path / "a.csv", "user,item,timestamp\na,x,1\na,y,2\n")
    second = written(tmp_path / "b.csv", "user,item,timestamp\na,x,3\na,,4\n")
    assert "b.csv: row 2 has no item" in refusal(tmp_path, [first, second])


# What is no door.


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("shop.duckdb", {}, "shop.duckdb holds 3 tables (main.events, main.newest, old.events):"),
        ("shop.duckdb", {"table": "x"}, "shop.duckdb has no table 'x', its tables are main.events"),
        ("shop.duckdb", {"table": "events"}, "shop.duckdb has 2 tables 'events'"),
        ("shop.db", {"table": "x"}, "shop.db has no table 'x', its tables are events: name one"),
        ("shop.db", {"hive": True}, "shop.db is a database: give it alone"),
        ("t.csv", {"table": "events"}, "--table events names a table of a database, and "),
        ("t.csv", {"table": "a", "query": Path("q")}, "--table and --query exclude each other"),
        ("t.csv", {"glob": True, "hive": True}, "--glob and --hive exclude each other"),
        ("t.csv", {"query": Path("absent.sql")}, "--query absent.sql cannot be read: No such file"),
        ("t.csv", {"hive": True}, "t.csv is no folder: --hive reads"),
        ("days", {}, "holds no *.parquet: give a file, or a folder of Parquet files, and --hive"),
        ("absent*.csv", {"glob": True}, "no file matches"),
        ("absent.duckdb", {"table": "x"}, "there is no file"),
    ],
)
def test_what_is_no_door(data, tmp_path, name, given, words):
    def act() -> None:
        read(tmp_path, data / name, **given)

    with pytest.raises((ConfigError, DataError)) as caught:
        act()
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("postgresql", "adbc_driver_postgresql", "postgres"),
        ("postgres", "adbc_driver_postgresql", "postgres"),
        ("mysql", "pymysql", "mysql"),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(
    tmp_path, monkeypatch, scheme, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    sentence = refusal(tmp_path, Uri(f"{scheme}://me@localhost/shop"), table="events")
    assert "which is not installed: pip install" in sentence
    assert f"'itrec-dist[{extra}]'" in sentence


@pytest.mark.parametrize(
    ("kind", "module", "log"),
    [
        ("delta", "deltalake", "_delta_log/00000000000000000000.json"),
        ("iceberg", "pyiceberg.table", "metadata/v1.metadata.json"),
    ],
)
def test_a_lake_is_not_read_as_if_nothing_were_deleted(
    data, tmp_path, monkeypatch, kind, module, log
):
    monkeypatch.setitem(sys.modules, module, None)
    table = tmp_path / "lake"
    table.mkdir()
    shutil.copy(data / "t.parquet", table)
    assert read(tmp_path, table).num_users > 0, "a folder of Parquet files"
    shutil.rmtree(tmp_path / "out")
    (table / log).parent.mkdir()
    (table / log).write_text("{}")
    for place in (table, Uri(table.as_uri())):
        sentence = refusal(tmp_path, place)
        assert "which is not installed: pip install 'itrec-dist[" + kind in sentence
    assert "give it alone" in refusal(tmp_path, table, hive=True)


@pytest.mark.parametrize("scheme", ["s3", "postgresql", "https"])
def test_a_credential_in_an_address_is_refused_and_not_shown(tmp_path, scheme):
    sentence = refusal(tmp_path, Uri(f"{scheme}://key:secret@place/t.parquet"))
    assert "carries a credential" in sentence
    assert "secret" not in sentence


def test_other_sources_take_one_path(tmp_path):
    for places in (Uri("s3://bucket/ml-1m"), [tmp_path, tmp_path]):
        with pytest.raises(ConfigError, match="--source ml-1m reads one folder or file on this"):
            window("ml-1m", places, tmp_path / "out", TINY)


# URIs.


def test_objects_of_s3_give_the_same_fingerprint(data, wanted, tmp_path, bucket):
    base = Uri(f"{bucket}/lake")
    store = Store(base)
    for path in [data / "t.parquet", data / "t.csv.zst", *data.glob("hive/*/*/*"),
                 *data.glob("days/*/*")]:  # fmt: skip
        store.upload(path, path.relative_to(data).as_posix())
    made = read(tmp_path, base.below("t.parquet"))
    assert made.fingerprint == wanted
    assert made.source["path"] == f"{bucket}/lake/t.parquet"
    assert made.source["files"] == read(tmp_path, data / "t.parquet").source["files"]
    for name, given in (
        ("t.csv.zst", {}), ("hive", {"hive": True}),
        ("days/*/part-*.csv", {"glob": True}), ("**/part-[0-9]*.csv", {"glob": True}),
    ):  # fmt: skip
        assert read(tmp_path, base.below(name), **given).fingerprint == wanted
    texts = (tmp_path / "out" / "manifest.json").read_text()
    assert object_store.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in texts.replace("tests", "")


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("none.parquet", {}, "there is nothing at "),
        ("x*.csv", {"glob": True}, "names no file to read"),
        ("none", {"hive": True}, "names no file to read"),
    ],
)
def test_what_a_bucket_does_not_hold(tmp_path, bucket, name, given, words):
    assert words in refusal(tmp_path, Uri(f"{bucket}/{name}"), **given)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_files_on_the_web(data, wanted, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(data)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        assert read(tmp_path, Uri(f"{address}/t.csv.gz")).fingerprint == wanted
        other = tmp_path / "other"
        assert "/absent.csv cannot be reached: File not found" in refusal(
            other, Uri(f"{address}/absent.csv")
        )
        words = "is on the web, where files cannot be listed"
        assert words in refusal(other, Uri(f"{address}/*.csv"), glob=True)
    finally:
        server.shutdown()
        server.server_close()
