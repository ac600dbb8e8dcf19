"""Given rows, expected rows: item and user features made from numbers and from titles."""

from collections.abc import Iterator

import pytest

from itrec_dist.data.database import Database
from tests.sql.test_windows_sql import give, run

ITEM_FEATURES = "item_source_id feature feature_value"
USER_FEATURES = "user_source_id feature feature_value"


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def binned(database: Database, bins: int) -> dict[tuple[str, str], str | None]:
    parameters = {"user_numbers": ["age"], "item_numbers": ["price", "size"], "bins": bins}
    database.table("number_bins", "staging/table/number_bins", **parameters)
    rows = database.rows("staging/table/number_bins", **parameters)
    found = {(row["feature"], row["feature_value"]): row["bin"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_numbers_become_ranges_with_about_as_many_in_each(database):
    prices = ["9", "10", "10.0", "11", "100", "20"]  # as numbers, not as text
    items = [(f"i{n}", "price", price) for n, price in enumerate(prices)]
    give(database, "item_features", ITEM_FEATURES, *items, ("i0", "brand", "3"))
    give(database, "user_features", USER_FEATURES, ("u", "age", "7"), ("v", "price", "x"))
    assert binned(database, 3) == {
        ("price", "9"): "9.0 to 10.0",
        ("price", "10"): "9.0 to 10.0",
        ("price", "10.0"): "9.0 to 10.0",  # equal numbers stay together
        ("price", "11"): "11.0",
        ("price", "20"): "20.0 to 100.0",
        ("price", "100"): "20.0 to 100.0",
        ("age", "7"): "7.0",
    }
    rows = run(database, "staging/table/binned_item_features")
    assert ("i5", "price", "20.0 to 100.0") in rows
    assert ("i0", "brand", "3") in rows
    assert len(rows) == 7
    assert sorted(run(database, "staging/table/binned_user_features")) == [
        ("u", "age", "7.0"), ("v", "price", "x"),
    ]  # fmt: skip
    assert run(database, "checks/unreadable_numbers") == []


def test_one_number_of_most_items_is_a_range_of_its_own(database):
    items = [(f"i{n}", "price", "0") for n in range(90)]
    items += [(f"j{n}", "price", str(n)) for n in range(1, 11)]
    give(database, "item_features", ITEM_FEATURES, *items)
    give(database, "user_features", USER_FEATURES, ("u", "age", "7"))
    found = binned(database, 10)
    assert found["price", "0"] == "0.0"
    assert {found["price", str(n)] for n in range(1, 11)} == {"1.0 to 10.0"}


@pytest.mark.parametrize("value", ["cheap", "nan", "inf", "1,5"])
def test_what_is_no_number_is_found(database, value):
    give(database, "item_features", ITEM_FEATURES, ("i", "price", value), ("j", "price", "2"))
    give(database, "user_features", USER_FEATURES, ("u", "age", "7"))
    binned(database, 3)
    assert run(database, "checks/unreadable_numbers") == [("item", "price", value)]


def test_words_of_titles_are_found_in_any_alphabet(database):
    give(
        database, "items", "item_source_id title",
        ("a", "L\u2019Été, l\u2019été (1999)"), ("b", "The Été of 1999"), ("c", "of war"),
    )  # fmt: skip
    give(database, "item_features", ITEM_FEATURES, ("a", "genres", "Drama"))
    found = run(database, "shared/title_words", words_name="title words", least=2)
    assert sorted(found) == [
        ("a", "genres", "Drama"),
        ("a", "title words", "1999"),
        ("a", "title words", "été"),
        ("b", "title words", "1999"),
        ("b", "title words", "of"),
        ("b", "title words", "été"),
        ("c", "title words", "of"),
    ]
