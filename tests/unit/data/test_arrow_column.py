"""A column in Arrow's form is the tuple of its values."""

import pyarrow as pa
import pytest

from itrec_dist.data.shards import arrow_column
from itrec_dist.data.shards.arrow_column import ArrowColumn

VALUES = (
    ("b", "", "a", "b", "ü" * 9, "z", "7"),
    (1995, None, 2001, 1995, None, None, 3),
    (["x"], [], None, ["y", "z"], ["x"], [], ["q"]),
)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Columns are walked through in several parts, the last of them not full."""
    monkeypatch.setattr(arrow_column, "_AT_ONCE", 3)


@pytest.mark.parametrize("values", VALUES)
def test_it_is_the_tuple_of_its_values(values):
    column = ArrowColumn(pa.array(values))
    assert tuple(column) == values
    assert len(column) == len(values)
    assert column == values
    assert column == ArrowColumn(pa.array(values))
    assert column != values[:-1]
    assert column != (*values[:-1], values[0])
    assert column != 5
    assert [column[i] for i in range(-7, 7)] == [values[i] for i in range(-7, 7)]
    for part in (slice(2, 5), slice(None, 2), slice(5, None), slice(9, 12), slice(0, 0)):
        assert column[part] == values[part]
    assert all(value in column for value in values)
    assert "none of them" not in column
    assert column.index(values[3]) == values.index(values[3])
    with pytest.raises(IndexError):
        column[7]
    assert pa.array(column).equals(pa.array(values))
    assert column.take([6, 0, 0]).to_pylist() == [values[6], values[0], values[0]]
    assert not len(ArrowColumn(pa.array([], pa.string())))
