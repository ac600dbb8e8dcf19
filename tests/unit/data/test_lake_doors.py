"""Tables of Delta Lake and Iceberg: as they are now, whatever lies in their folders."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from tests import object_store
from tests.doors import EVENTS, read, refusal, written

deltalake = pytest.importorskip("deltalake", reason="pip install -e '.[dev]'")
sql = pytest.importorskip("pyiceberg.catalog.sql", reason="pip install -e '.[dev]'")

TIMED = EVENTS.set_column(
    2, "timestamp", pc.strptime(EVENTS["timestamp"], "%Y-%m-%d %H:%M:%S", "us")
)
OTHERS = TIMED.slice(0, 6).set_column(0, "user", pa.array(["gone"] * 6))


def delta(place: str, **more: Any) -> None:
    """The events after rows were deleted and changed, in partitions."""
    wrong = pc.if_else(pc.equal(TIMED["item"], 7), 70, TIMED["item"])
    given = pa.concat_tables([OTHERS, TIMED.set_column(1, "item", wrong)])
    deltalake.write_deltalake(place, given, partition_by=["shop"], **more)
    table = deltalake.DeltaTable(place, **more)
    table.delete("\"user\" = 'gone'")
    table.update(predicate="item = 70", updates={"item": "7"})


def iceberg(warehouse: str, **more: str) -> str:
    """The same without changes; returns the address of the newest metadata file."""
    catalogue = sql.SqlCatalog("tests", uri="sqlite://", warehouse=warehouse, **more)
    catalogue.create_namespace("shop")
    table = catalogue.create_table("shop.events", schema=TIMED.schema)
    table.append(OTHERS)
    table.append(TIMED)
    table.delete("user = 'gone'")
    return str(table.metadata_location)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lakes of é")
    delta(str(folder / "delta"))
    location = Path(iceberg(f"file://{folder}").removeprefix("file://"))
    shutil.copytree(location.parent, folder / "iceberg" / "metadata")
    return folder


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("wanted")
    pq.write_table(EVENTS, folder / "t.parquet")
    return read(folder, folder / "t.parquet").fingerprint


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_lake_gives_the_fingerprint_of_a_file(lakes, wanted, tmp_path, kind):
    made = read(tmp_path, lakes / kind)
    assert made.fingerprint == wanted
    assert made.source["path"] == str(lakes / kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_query_over_a_lake_and_its_uri_give_the_same(lakes, wanted, tmp_path, kind):
    query = written(tmp_path / "q.sql", "from input where item is not null order by timestamp")
    assert read(tmp_path, lakes / kind, query=query).fingerprint == wanted
    assert read(tmp_path, Uri((lakes / kind).as_uri())).fingerprint == wanted


@pytest.mark.slow
def test_a_metadata_file_is_the_table_of_that_moment(lakes, wanted, tmp_path):
    files = sorted((lakes / "iceberg" / "metadata").glob("*.metadata.json"))
    assert read(tmp_path, files[-1]).fingerprint == wanted
    assert read(tmp_path, files[1]).num_users == 1, "the first that was appended"
    twice = tmp_path / "twice"
    shutil.copytree(lakes / "iceberg", twice)
    shutil.copy(files[-1], twice / "metadata" / "00003-other.metadata.json")
    sentence = refusal(tmp_path / "new", twice)
    assert "does not say which of its metadata files is the newest (00003-" in sentence


def edited(table: Path, edit: Callable[[str, dict[str, Any]], None]) -> None:
    """Change the actions of the first commit of a Delta table."""
    log = table / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        for name, content in action.items():
            edit(name, content)
    log.write_text("\n".join(map(json.dumps, actions)))


def ascii_of(content: bytes) -> str:
    """Z85, as Delta writes deletion vectors into its log."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    content += b"\0" * (-len(content) % 4)
    numbers = [int.from_bytes(content[i : i + 4], "big") for i in range(0, len(content), 4)]
    return "".join(digits[n // 85**power % 85] for n in numbers for power in (4, 3, 2, 1, 0))


ROWS = pa.table({"user": list("aaaa"), "item": [1, 2, 3, 4], "timestamp": [1, 2, 3, 4]})


def test_a_deletion_vector_is_honoured(tmp_path):
    deltalake.write_deltalake(tmp_path / "t", ROWS)
    # A 64-bit roaring bitmap with row 1: one bitmap of key 0, of one container of one value.
    bitmap = struct.pack("<QIIIHHIH", 1, 0, 12346, 1, 0, 0, 16, 1)
    vector = struct.pack("<I", 1681511377) + bitmap

    def edit(name: str, content: dict[str, Any]) -> None:
        if name == "protocol":
            features = ["deletionVectors"]
            content |= {"minReaderVersion": 3, "minWriterVersion": 7}
            content |= {"readerFeatures": features, "writerFeatures": features}
        elif name == "metaData":
            content["configuration"]["delta.enableDeletionVectors"] = "true"
        elif name == "add":
            inline = {"storageType": "i", "pathOrInlineDv": ascii_of(vector)}
            content["deletionVector"] = inline | {"sizeInBytes": len(vector), "cardinality": 1}

    edited(tmp_path / "t", edit)
    read(tmp_path, tmp_path / "t")
    items = pq.read_table(tmp_path / "out" / "items.parquet")["source_id"].to_pylist()
    assert items == ["1", "3", "4"]


def test_renamed_columns_are_read_by_their_names(tmp_path):
    deltalake.write_deltalake(tmp_path / "t", ROWS.rename_columns(["a", "b", "c"]))

    def edit(name: str, content: dict[str, Any]) -> None:
        if name == "protocol":
            content |= {"minReaderVersion": 2, "minWriterVersion": 5}
        elif name == "metaData":
            mapping = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"}
            content["configuration"] = mapping
            schema = json.loads(content["schemaString"])
            for number, field in enumerate(schema["fields"]):
                physical = {"delta.columnMapping.physicalName": field["name"]}
                field["metadata"] = {"delta.columnMapping.id": number + 1} | physical
                field["name"] = ROWS.column_names[number]
            content["schemaString"] = json.dumps(schema)

    edited(tmp_path / "t", edit)
    read(tmp_path, tmp_path / "t")
    items = pq.read_table(tmp_path / "out" / "items.parquet")["source_id"].to_pylist()
    assert items == ["1", "2", "3", "4"]


def test_a_feature_that_is_not_known_is_refused(tmp_path):
    deltalake.write_deltalake(tmp_path / "t", ROWS)

    def edit(name: str, content: dict[str, Any]) -> None:
        if name == "protocol":
            content |= {"minReaderVersion": 3, "minWriterVersion": 7}
            content |= {"readerFeatures": ["fromTheFuture"], "writerFeatures": ["fromTheFuture"]}

    edited(tmp_path / "t", edit)
    sentence = refusal(tmp_path, tmp_path / "t")
    assert "cannot be read as a table of Delta Lake: " in sentence
    assert "fromTheFuture" in sentence


@pytest.mark.parametrize("log", ["{}", "not json", '{"commitInfo":{}}', ""])
def test_a_broken_log_is_one_sentence(tmp_path, log):
    deltalake.write_deltalake(tmp_path / "t", ROWS)
    (tmp_path / "t" / "_delta_log" / f"{0:020}.json").write_text(log)
    assert "t cannot be read as a table of Delta Lake: " in refusal(tmp_path, tmp_path / "t")


@pytest.mark.parametrize("content", ["{}", "not json", ""])
def test_broken_metadata_are_one_sentence(lakes, tmp_path, content):
    shutil.copytree(lakes / "iceberg", tmp_path / "t")
    written(tmp_path / "t" / "metadata" / "00009-new.metadata.json", content)
    assert "t cannot be read as a table of Iceberg: " in refusal(tmp_path, tmp_path / "t")


@pytest.mark.slow
def test_an_iceberg_without_its_files_is_one_sentence(tmp_path):
    location = Path(iceberg(f"file://{tmp_path / 'w'}").removeprefix("file://"))
    shutil.rmtree(location.parents[1] / "data")
    assert "cannot be read as a table of Iceberg: " in refusal(tmp_path, location.parents[1])


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_an_empty_lake_is_refused_like_an_empty_file(tmp_path, kind):
    if kind == "delta":
        deltalake.write_deltalake(tmp_path / kind, ROWS.slice(0, 0))
        place = tmp_path / kind
    else:
        catalogue = sql.SqlCatalog("tests", uri="sqlite://", warehouse=f"file://{tmp_path}")
        catalogue.create_namespace("shop")
        made = catalogue.create_table("shop.events", schema=ROWS.schema)
        place = Path(made.metadata_location.removeprefix("file://")).parents[1]
    pq.write_table(ROWS.slice(0, 0), tmp_path / "empty.parquet")
    sentence = refusal(tmp_path, tmp_path / "empty.parquet")
    assert refusal(tmp_path, place) == sentence.replace(str(tmp_path / "empty.parquet"), str(place))


@pytest.mark.slow
def test_lakes_of_an_object_store_give_the_same_fingerprint(
    lakes, wanted, tmp_path, bucket, monkeypatch
):
    base = Uri(bucket)
    for path in (lakes / "delta").rglob("*.*"):
        Store(base).upload(path, f"delta/{path.relative_to(lakes / 'delta')}")
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    iceberg(f"{bucket}/w", **{"s3.endpoint": endpoint, "s3.region": "us-east-1"})
    places = [base.below("delta"), base.below("w/shop/events")]
    for place in places:
        assert read(tmp_path, place).fingerprint == wanted
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    given = f"endpoint_override={endpoint.removeprefix('http://')}&scheme=http&region=us-east-1"
    for place in places:
        assert read(tmp_path, Uri(f"{place}?{given}")).fingerprint == wanted
        written_text = (tmp_path / "out" / "manifest.json").read_text()
        assert object_store.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in written_text
