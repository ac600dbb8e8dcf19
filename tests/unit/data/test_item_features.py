"""Features made from columns of numbers and from titles, from the table to the item vectors."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import spec as data_spec
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories

TITLES = ["Blue lamp", "Blue chair", "Old lamp", "Old blue chair", "Rug"]
ITEMS = {
    "item": ["a", "b", "c", "d", "e"],
    "title": TITLES,
    "brand": ["x", "y", "x", None, "y"],
    "price": [10.0, 20.0, 30.0, None, 10.0],
}
USERS = {"user": ["u", "v", "w"], "age": ["31", "45", ""]}


@pytest.fixture
def windowed(tmp_path):
    events = [(u, i, n) for u in "uvw" for n, i in enumerate("abcde")]
    columns = [list(c) for c in zip(*events, strict=True)]
    pq.write_table(pa.table(columns, names=["user", "item", "timestamp"]), tmp_path / "e.parquet")
    pq.write_table(pa.table(USERS), tmp_path / "users.parquet")

    def window(items=ITEMS, words=2, **settings) -> Manifest:
        pq.write_table(pa.table(items), tmp_path / "items.parquet")
        given = {"item_features": ("brand",), "item_numbers": ("price",), **settings}
        source = TableConfig(
            items=tmp_path / "items.parquet", users=tmp_path / "users.parquet",
            user_numbers=("age",), columns=TableColumns(title="title"), **given,
        )  # fmt: skip
        config = HistoryConfig(title_words=words, num_shards=1)
        return histories("table", tmp_path / "e.parquet", tmp_path / "shards", config, source)

    return window


def test_numbers_and_words_become_features(windowed, tmp_path):
    made = windowed()
    brand, price, words = made.item_features
    assert (brand.name, brand.values) == ("brand", ("x", "y"))
    assert (price.name, price.kind, price.values) == ("price", "single", ("10.0", "20.0", "30.0"))
    assert (words.name, words.kind) == ("title words", "multi")
    assert words.values == ("blue", "chair", "lamp", "old")
    assert [(f.name, f.values) for f in made.user_features] == [("age", ("31.0", "45.0"))]
    items = reader.read_items(tmp_path / "shards", made)
    features_VF = data_spec.build(made, items).item_features_VF.to_dense()
    names = [*brand.values, *price.values, *words.values]
    described = {
        source: {name for name, is_set in zip(names, row, strict=True) if is_set}
        for source, row in zip(items.source_ids, features_VF[1:], strict=True)
    }
    assert described == {
        "a": {"x", "10.0", "blue", "lamp"},
        "b": {"y", "20.0", "blue", "chair"},
        "c": {"x", "30.0", "old", "lamp"},
        "d": {"old", "blue", "chair"},
        "e": {"y", "10.0"},
    }
    assert not features_VF[0].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"words": 4}, "no word stands in 4 titles of .*items.parquet: lower title_words"),
        ({"items": ITEMS | {"price": ["1", "2", "3", "?", "5"]}}, "column price of --items holds"),
        (
            {"items": ITEMS | {"title words": TITLES}, "item_features": ("title words",)},
            "item_features names a column title words",
        ),
    ],
)
def test_what_cannot_be_a_feature_is_refused(windowed, tmp_path, given, words):
    with pytest.raises(DataError, match=words):
        windowed(**given)
    assert not (tmp_path / "shards").exists()


def test_columns_are_named_once_and_with_their_table(tmp_path):
    with pytest.raises(ConfigError, match="item_numbers needs --items, the file that holds price"):
        TableConfig(item_numbers=("price",))
    with pytest.raises(ConfigError, match="item_features with item_numbers names a column twice"):
        TableConfig(items=tmp_path, item_features=("price",), item_numbers=("price",))
    with pytest.raises(ConfigError, match="title_words is -1"):
        HistoryConfig(title_words=-1)
