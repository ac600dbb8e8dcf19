"""Columns of every type, alone and in parts of unlike types: what is read, or one sentence."""

import datetime
import decimal
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import schema
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError
from itrec_dist.tasks import summary
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.cases import slow_after
from tests.typed_tables import RATED, column, read, refusal, write

SMALL = WindowConfig(
    min_user_events=1, input_length=2, target_length=1, stride=1, validation_fraction=0.0
)
NAN = float("nan")


# Parts of unlike types.


def test_whole_ratings_and_then_half_ones(tmp_path):
    write(tmp_path / "t" / "part-0.parquet", rating=[1, 2, 3, 4])
    write(tmp_path / "t" / "part-1.parquet", timestamp=[5, 6, 7, 8], rating=[0.5, 1.5, 2.5, 4.5])
    assert column(tmp_path / "t", "rating") == [1, 2, 3, 4, 0.5, 1.5, 2.5, 4.5]


def test_a_number_7_and_a_text_007_stay_two_users(tmp_path):
    write(tmp_path / "t" / "part-0.parquet", user=[7] * 4)
    write(tmp_path / "t" / "part-1.parquet", user=["007"] * 4)
    write(tmp_path / "t" / "part-2.parquet", user=[7.0] * 4, timestamp=[5, 6, 7, 8])
    assert column(tmp_path / "t", "user_source_id") == ["7"] * 4 + ["007"] * 4 + ["7"] * 4


def test_small_integers_and_then_large_ones(tmp_path):
    write(
        tmp_path / "t" / "part-0.parquet", user=pa.array([1, 1, 2, 2], pa.int32()),
        timestamp=pa.array([1, 2, 3, 4], pa.int32()),
    )  # fmt: skip
    write(
        tmp_path / "t" / "part-1.parquet", user=[3_000_000_000, 2**53 + 1, 2**53 + 2, 2],
        timestamp=[3_000_000_000] * 4,
    )  # fmt: skip
    assert column(tmp_path / "t", "user_source_id")[4:6] == [3_000_000_000, 2**53 + 1]
    assert column(tmp_path / "t", "event_time")[2:5] == [3, 4, 3_000_000_000]


@pytest.mark.parametrize("kind", slow_after(1, [pa.null(), pa.int8(), pa.string()]))
@pytest.mark.parametrize("name", ["part-0", "part-9"])
def test_an_empty_part_does_not_determine_types(tmp_path, kind, name):
    write(tmp_path / "t" / "part-1.parquet", user=[300] * 4, rating=[0.5] * 4)
    names = ["user", "item", "timestamp", "rating"]
    empty = pa.schema([(n, kind) for n in names]).empty_table()
    pq.write_table(empty, tmp_path / "t" / f"{name}.parquet")
    assert column(tmp_path / "t", "user_source_id") == [300] * 4
    assert column(tmp_path / "t", "rating") == [0.5] * 4


def test_a_part_may_have_its_columns_in_another_order_and_more_of_them(tmp_path):
    write(tmp_path / "t" / "part-0.parquet")
    swapped = {"rating": [5.0], "note": ["?"], "timestamp": [9], "item": ["z"], "user": ["c"]}
    pq.write_table(pa.table(swapped), tmp_path / "t" / "part-1.parquet")
    found = read(tmp_path / "t")[-1]
    assert list(found.values()) == ["c", "z", 9, 5.0]


def test_a_part_that_lacks_a_column_is_named(tmp_path):
    write(tmp_path / "t" / "part-0.parquet")
    pq.write_table(pa.table({"user": ["c"]}), tmp_path / "t" / "part-1.parquet")
    assert "part-1.parquet has no column 'item', its columns are user" in refusal(tmp_path / "t")


def test_dates_in_one_part_and_numbers_in_another_are_refused(tmp_path):
    day = datetime.datetime(2020, 1, 1)
    write(tmp_path / "t" / "part-0.parquet")
    write(tmp_path / "t" / "part-1.parquet", timestamp=[day] * 4)
    sentence = refusal(tmp_path / "t")
    assert "TIMESTAMP in " in sentence
    assert "part-1.parquet and BIGINT in " in sentence
    assert "part-0.parquet" in sentence


def test_a_bad_row_of_a_part_is_named_by_its_file(tmp_path):
    write(tmp_path / "t" / "part-0.parquet")
    write(tmp_path / "t" / "part-1.parquet", item=["x", None, "x", "y"], timestamp=[5, 6, 7, 8])
    assert "part-1.parquet: row 2 has no item" in refusal(tmp_path / "t")
    write(tmp_path / "t" / "part-1.parquet", timestamp=[5, 6, 7, 4])
    sentence = refusal(tmp_path / "t")
    assert "part-0.parquet: row 4 and " in sentence
    assert "part-1.parquet: row 4 both rate item y by user b at 4: remove one" in sentence


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 1):
        path = tmp_path / "t" / f"part-{number}.parquet"
        write(path, user=["a"] * 4, item=[f"{number}{n}" for n in "wxyz"], timestamp=[7] * 4)
    window("table", tmp_path / "t", tmp_path / "out", SMALL, RATED)
    (seen,) = pq.read_table(tmp_path / "out" / schema.HISTORIES_FILE)["item_ids"].to_pylist()
    items = pq.read_table(tmp_path / "out" / schema.ITEMS_FILE)["source_id"].to_pylist()
    assert [items[i - 1] for i in seen] == ["10y", "10z"]


@pytest.mark.parametrize(
    "names", [["user", "item", "timestamp", "user"], ["User", "item", "timestamp", "user"]]
)
def test_two_columns_of_one_name_are_refused(tmp_path, names):
    columns = [pa.array(list("aabb")), pa.array(list("xyxy")), pa.array([1, 2, 3, 4])]
    pq.write_table(pa.table([*columns, columns[0]], names=names), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text(",".join(names) + "\na,x,1,b\na,y,2,b\n")
    for name in ("t.parquet", "t.csv"):
        words = f"{name} has 2 columns 'user' ({names[0]}, user): rename all but one"
        assert words in refusal(tmp_path / name, TableConfig())


def test_a_column_may_be_named_as_duckdb_would_name_a_second_one(tmp_path):
    path = write(tmp_path / "t.parquet", user_1=list("cdef"))
    assert column(path, "user_source_id") == list("aabb")
    (tmp_path / "t.csv").write_text("user,item,timestamp,user_1\na,x,1,b\na,y,2,b\n")
    assert column(tmp_path / "t.csv", "user_source_id", TableConfig()) == ["a", "a"]


# Ids.


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.decimal128(22, 2), pa.uint64()])
def test_whole_ids_have_no_point(tmp_path, kind):
    ids = pa.array([7, 7, 12, 12]).cast(kind)
    path = write(tmp_path / "t.parquet", user=ids, item=pa.array([1, 2, 1, 2]).cast(kind))
    assert column(path, "user_source_id") == ["7", "7", "12", "12"]
    assert column(path, "item_source_id") == ["1", "2", "1", "2"]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("user", [1.0, NAN, 2.0, 2.0], "row 2 has no user"),
        ("item", [1.0, 2.0, NAN, 2.0], "row 3 has no item"),
        ("user", [1.0, 1.5, 2.0, 2.0], "row 2: user 1.5 is neither text nor an exact"),
        ("item", [1.0, 2.0, 3.0, float("inf")], "row 4: item inf is neither text nor an exact"),
        ("user", [1.0, 2.0**53, 2.0, 2.0], "row 2: user 9007199254740992.0 is neither text"),
        ("user", [decimal.Decimal("1.5")] * 4, "row 1: user 1.5 is neither text nor an exact"),
        ("user", [[1]] * 4, "column 'user' is of type BIGINT[]: give one number or text per row"),
        ("user", [b"caf\xe9"] * 4, "\"caf\\xE9\" is not valid UTF-8: save binary"),
    ],
)  # fmt: skip
def test_inexact_ids_are_refused(tmp_path, name, values, words):
    path = write(tmp_path / "t.parquet", **{name: values})
    sentence = refusal(path)
    assert words.format(path) in sentence
    assert "t.parquet" in sentence


def test_binary_text_is_utf_8(tmp_path):
    path = write(tmp_path / "t.parquet", user=["café".encode()] * 4)
    assert column(path, "user_source_id") == ["café"] * 4


# CSV.


def test_a_csv_without_header_names_the_setting_and_can_be_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("196,242,3,881250949\n186,302,3,891717742\n")
    sentence = refusal(path)
    assert "has no header, its first line is 196, 242, 3, 881250949: put the names" in sentence
    assert "--header false" in sentence
    names = TableColumns(user="column0", item="column1", rating="column2", timestamp="column3")
    found = read(path, TableConfig(columns=names, header=False))
    assert list(found[0].values()) == ["196", "242", 881250949, 3.0]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.csv", "café,x,1\n".encode("latin-1"), "l.csv: line 2 cannot be read (invalid encoding"),
        ("w.csv", "é,x,1\n".encode("utf-16-le"), "w.csv is not UTF-8 text: save it as UTF-8"),
        (
            "w.csv.gz",
            gzip.compress("é,x,1\n".encode("utf-16"), mtime=0),
            "w.csv.gz cannot be cut into",
        ),
        (
            "half.csv.gz",
            gzip.compress(b"a,x,1\n" * 9999, mtime=0)[:-9],
            "half.csv.gz cannot be read: IO",
        ),
    ],
)
def test_text_in_other_encodings_is_refused(tmp_path, name, content, words):
    header = b"user,item,timestamp\n"
    (tmp_path / name).write_bytes(content if name.endswith("gz") else header + content)
    assert words in refusal(tmp_path / name, TableConfig())


def test_quotes_after_many_rows_without_any_are_still_quotes(tmp_path):
    rows = "".join(f"u{n},x,{n}\n" for n in range(25_000))
    text = "user,item,timestamp\n" + rows + '"a,b",x,5\n"a\nb",x,6\n'
    (tmp_path / "t.csv").write_text(text)
    assert column(tmp_path / "t.csv", "user_source_id", TableConfig())[-2:] == ["a,b", "a\nb"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['"a","x",1', '"a","y",2', '"a","z,3'], "row 3: item '\"z' begins with a quotation mark"),
        (["a,x,1", '"b,y,2', "a,z,3"], "row 2: user '\"b' begins with a quotation mark"),
        (['"a","x",1,p', '"a","y",2,"q'], "row 1: user '\"a\"' begins with a quotation mark"),
    ],
)
def test_a_quotation_mark_that_is_never_closed_is_refused(tmp_path, lines, words):
    wide = lines[0].count(",") > 2
    (tmp_path / "t.csv").write_text(
        "\n".join(["user,item,timestamp" + ",place" * wide, *lines, ""])
    )
    assert words in refusal(tmp_path / "t.csv", TableConfig())


def test_quotation_marks_within_values_are_kept(tmp_path):
    (tmp_path / "t.csv").write_text(
        'user,item,timestamp\n"""a""",12" disc,1\n"""a","say ""hi""",2\n'
    )
    found = read(tmp_path / "t.csv", TableConfig())
    assert [(row["user_source_id"], row["item_source_id"]) for row in found] == [
        ('"a"', '12" disc'), ('"a', 'say "hi"'),
    ]  # fmt: skip


def test_categories_and_titles_of_a_csv_are_what_is_written(tmp_path):
    events = write(tmp_path / "t.parquet")
    (tmp_path / "items.csv").write_text("item,name,zip\nx,007,01234\ny,1e3,01235\n")
    table = TableConfig(
        columns=TableColumns(title="name"), items=tmp_path / "items.csv", item_features=("zip",)
    )
    two = WindowConfig(min_user_events=1, input_length=1, target_length=1, validation_fraction=0)
    manifest = window("table", events, tmp_path / "out", two, table)
    assert manifest.item_features[0].values == ("01234", "01235")
    titles = pq.read_table(tmp_path / "out" / schema.ITEMS_FILE)["title"].to_pylist()
    assert titles == ["007", "1e3"]


# Tables of items and users.


def categories(tmp_path: Path, values: list[Any], kind: pa.DataType | None = None) -> list[str]:
    events = write(tmp_path / "t.parquet")
    items = pa.table({"item": ["x", "y"], "genres": pa.array(values, kind)})
    pq.write_table(items, tmp_path / "items.parquet")
    table = TableConfig(items=tmp_path / "items.parquet", item_features=("genres",))
    two = WindowConfig(min_user_events=1, input_length=1, target_length=1, validation_fraction=0)
    manifest = window("table", events, tmp_path / "out", two, table, overwrite=True)
    return list(manifest.item_features[0].values)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([["War", "Drama"], ["Drama"]], ["Drama", "War"]),
        ([[{"id": 1, "name": "War"}], [{"id": 2, "name": "Drama"}]], ["Drama", "War"]),
        ([{"name": "War"}, {"name": "Drama"}], ["Drama", "War"]),
        ([[b"War"], [b"Drama"]], ["Drama", "War"]),
        ([3.0, NAN], ["3"]),
        ([[3.0, NAN], [4.5]], ["3", "4.5"]),
        ([3, None], ["3"]),
        ([True, False], ["false", "true"]),
        (["[adult swim]", "War|[x]"], ["War", "[adult swim]", "[x]"]),
    ],
)
def test_categories_of_every_type(tmp_path, values, wanted):
    assert categories(tmp_path, values) == wanted


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[{"id": 1}], [{"id": 2}]], "are not categories: give text, lists of text, or records"),
        ([[["War"]], [["Drama"]]], "are not categories"),
        (["War", "[{'id': 18, 'name': 'Drama'}]"], "row 2: genres is \"[{'id': 18"),
        (["['War', 'Drama']", "War"], "a list written as text: give Parquet with lists"),
    ],
)
def test_what_is_no_category_is_refused(tmp_path, values, words):
    with pytest.raises(DataError) as caught:
        categories(tmp_path, values)
    assert words in str(caught.value)
    assert "items.parquet" in str(caught.value)


@pytest.mark.parametrize("kind", ["user", "item"])
def test_rows_of_tables_without_an_exact_id_are_refused(tmp_path, kind):
    events = write(tmp_path / "t.parquet")
    for ids, words in (([1.0, NAN], f"row 2 has no {kind}"), ([0.5, 1.0], f"row 1 has the {kind}")):
        path = tmp_path / "about.parquet"
        pq.write_table(pa.table({kind: ids, "plan": ["p", "q"]}), path)
        table = TableConfig(**{f"{kind}s": path, f"{kind}_features": ("plan",)})
        assert f"about.parquet: {words}" in refusal(events, table)


def test_tables_that_describe_nobody_are_warned_of_with_numbers(tmp_path):
    events = write(tmp_path / "t.parquet")
    pq.write_table(pa.table({"user": ["A", "b"], "plan": ["p", None]}), tmp_path / "users.parquet")
    pq.write_table(pa.table({"item": ["X", "Y"], "name": ["p", "q"]}), tmp_path / "items.parquet")
    table = TableConfig(
        columns=TableColumns(title="name"),
        users=tmp_path / "users.parquet", user_features=("plan",), items=tmp_path / "items.parquet",
    )  # fmt: skip
    two = WindowConfig(min_user_events=1, input_length=1, target_length=1, validation_fraction=0)
    manifest = window("table", events, tmp_path / "out", two, table)
    items, users = summary.warnings(manifest)
    assert "2 of 2 items are in no item table" in items
    assert "2 of 2 users have no value of plan" in users
    assert "none matches" in items
    assert "none matches" in users
