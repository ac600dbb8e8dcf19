"""Numbers the values of the columns of events, as those of training are.

Owns running the files of `sql/next_items/histories/features/`.
"""

from itrec_dist.data.database import Database
from itrec_dist.data.event_features import RANGES, EventFeature, EventFeatureKind

FOLDER = "next_items/histories/features"


def learned(
    database: Database, columns: tuple[tuple[str, EventFeatureKind], ...]
) -> tuple[EventFeature, ...]:
    """Fill `user_codes` from `event_features`, `sequences` and `targets`.

    What is learned, the values of a category and the ranges of a number, is that of events in rows
    of training alone.
    """
    if not columns:
        return ()
    database.table("described_events", f"{FOLDER}/described_events")
    database.drop("event_features")
    features = tuple(
        _category(database, name, number) if kind == "category" else _number(database, name, number)
        for number, (name, kind) in enumerate(columns, 1)
    )
    database.table("user_codes", f"{FOLDER}/user_codes")
    database.drop("described_events")
    return features


def _category(database: Database, name: str, number: int) -> EventFeature:
    rows = database.arrow(f"{FOLDER}/vocabulary", number=number)
    database.register("event_vocabulary", rows)
    database.table("described_events", f"{FOLDER}/category_codes", number=number)
    return EventFeature(name, "category", values=tuple(rows["feature_value"].to_pylist()))


def _number(database: Database, name: str, number: int) -> EventFeature:
    found = database.rows(f"{FOLDER}/number_edges", number=number, ranges=RANGES)
    edges = [row["edge"] for row in found]
    database.table("described_events", f"{FOLDER}/number_codes", number=number, edges=edges)
    return EventFeature(name, "number", edges=tuple(edges))
