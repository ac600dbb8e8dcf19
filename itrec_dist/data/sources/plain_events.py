"""Stages tables whose values are what they should be by their types, without parsing them.

Times that are whole numbers, numeric ratings, and ids of text or whole numbers are most tables in
Parquet. They are read straight into `ratings`: to parse, judge and sort them as table.py does for
others costs more than all that follows. Ids that are whole numbers stay so, since each is compared
and looked up for every event.
"""

from collections.abc import Mapping

from itrec_dist.data.database import Database
from itrec_dist.data.source_files import SourceColumn
from itrec_dist.data.sources.opening import Opened, load
from itrec_dist.data.sources.staging import Parts

_LARGEST_TIME = 9.2e18  # as in sql/checks/unreadable_values.sql
_PLAIN = {
    "user_source_id": "ids",
    "item_source_id": "ids",
    "event_time": "whole",
    "rating": "numbers",
}


def stage(
    database: Database, events: Opened, columns: Mapping[str, SourceColumn]
) -> tuple[Parts, Mapping[str, int]] | None:
    """Fill `ratings` in the order of the table; None if it has to be parsed.

    Returns the files with their rows, and what sql/staging/table/time_facts.sql would tell.

    Raises:
        DataError: a column is missing, or the files cannot be read.
    """
    wanted = {name: columns[name] for name in _PLAIN}
    if not events.is_ordered or not events.source.are_plain(
        [(column, _PLAIN[name]) for name, column in wanted.items()]
    ):
        return None
    for name in ("user_source_id", "item_source_id"):
        wanted[name] = SourceColumn("id", wanted[name].columns)
    parts = load(database, "ratings", events, wanted)
    (facts,) = database.rows("staging/table/plain_time_facts")
    if (facts["latest"] or 0) >= _LARGEST_TIME:
        database.drop("ratings")
        return None
    return parts, facts
