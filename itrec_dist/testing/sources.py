"""What sources promise: tables of events, items and features, the same every time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from itrec_dist.data.database import Database
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.source import Source
from itrec_dist.errors import DataError
from itrec_dist.testing.claims import require

_STAGED = {
    "ratings": {
        "user_source_id": "string", "item_source_id": "string", "event_time": "int64",
        "rating": "double",
    },
    "items": {
        "item_source_id": "string", "title": "string", "release_year": "int32",
        "genres": "list<",
    },
    "item_features": {"item_source_id": "string", "feature": "string", "feature_value": "string"},
    "user_features": {"user_source_id": "string", "feature": "string", "feature_value": "string"},
}  # fmt: skip
"""Table -> column -> how its Arrow type begins."""


def check_source(source: Source, path: str | Path) -> None:
    """Check all that sources promise, on a small file or folder of that format.

    Its tables have the columns that windowing reads, events have a user and an item, features are
    those that it names, a second reading gives the same, and a file that is not there is refused.

    Args:
        source: the settings of the source, which are the source.
        path: a small example of its input.

    Raises:
        AssertionError: a promise is broken; the message says which.
        DataError: the source refuses the example.

    Examples:
        >>> testing.check_source(LoansConfig(separator="|"), "tests/loans.txt")
    """
    place = Path(path)
    require(isinstance(source, Source), f"{type(source).__name__} does not inherit from Source")
    require(_tables(source, place) == _tables(source, place), "a second reading gives other tables")
    missing = place.with_name(f"{place.name}.is-not-there")
    try:
        _tables(source, missing)
    except DataError:
        return
    except Exception as error:
        raise AssertionError(
            f"a file that is not there ends in {type(error).__name__}: raise a DataError that "
            "names it"
        ) from error
    raise AssertionError("a file that is not there is read as if it were: raise a DataError")


def _tables(source: Source, path: Path) -> dict[str, object]:
    """All that the source stages, checked."""
    folders = [] if source.sql_folder is None else [source.sql_folder]
    with Database(folders=folders, threads=1) as database:
        staging.register_no_vectors(database)
        staged = source.stage(database, path)
        found = {name: _table(database, name) for name in _STAGED}
    ratings = found["ratings"]
    require(ratings.num_rows > 0, "the example has no event")
    for name in ("user_source_id", "item_source_id"):
        require(ratings[name].null_count == 0, f"ratings has events whose {name} is null")
    without = ratings["rating"].null_count == ratings.num_rows
    require(staged.has_ratings != without, f"has_ratings={staged.has_ratings} is not so")
    of_users = (*staged.user_features, *staged.more_user_features)
    for name, features in (("item", staged.item_features), ("user", of_users)):
        given = set(found[f"{name}_features"]["feature"].to_pylist())
        unnamed = sorted(given - {feature for feature, _ in features})
        require(not unnamed, f"{name}_features has {unnamed}, which the result does not name")
    return {name: table.to_pydict() for name, table in found.items()}


def _table(database: Database, name: str) -> pa.Table:
    """A table that the source made, with the columns that it has to have."""
    try:
        table = database.whole(name)
    except DataError as error:
        raise AssertionError(f"stage makes no table {name}") from error
    for column, kind in _STAGED[name].items():
        require(column in table.column_names, f"{name} has no column {column}")
        found = str(table.schema.field(column).type).replace("large_", "")
        # A table without rows may be made of columns without a type.
        fits = found.startswith(kind) or (table.num_rows == 0 and found == "null")
        require(fits, f"{name}.{column} is {found}, not {kind.rstrip('<')}")
    return table
