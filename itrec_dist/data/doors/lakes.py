"""Tables of Delta Lake and Iceberg as inputs, by DuckDB's extensions for them.

Their folders hold Parquet files, but also those of rows that were deleted or replaced since: only
the table's own log says which of them count. So such a folder is never read as plain files.
"""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import duckdb

from itrec_dist.data.doors import databases, remote
from itrec_dist.data.doors.files import Place, is_readable
from itrec_dist.data.source_files import Part
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.storage.uri import Uri

Lake = Literal["delta", "iceberg"]

_TITLES: dict[Lake, str] = {"delta": "Delta Lake", "iceberg": "Iceberg"}


def lake_of(place: Place) -> Lake | None:
    """What kind of table a folder or URI is; None if it is none.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    if isinstance(place, Path):
        if (place / "_delta_log").is_dir():
            return "delta"
        return "iceberg" if any(place.glob("metadata/*.metadata.json")) else None
    if not isinstance(place, Uri) or _is_file_of(place):
        return None
    names = remote.names(place)
    if any(name.startswith("_delta_log/") for name in names):
        return "delta"
    of_iceberg = (n.startswith("metadata/") and n.endswith(".metadata.json") for n in names)
    return "iceberg" if any(of_iceberg) else None


def rows(
    connection: duckdb.DuckDBPyConnection, place: Place, kind: Lake, guard: databases.Guard
) -> Part:
    """Copy the rows of the table as it is now.

    Raises:
        DataError: it cannot be read.
        EnvironmentProblem: DuckDB lacks the extension.
    """
    try:
        connection.load_extension(kind)
    except duckdb.Error as error:
        raise EnvironmentProblem(
            f"{place} is a table of {_TITLES[kind]}, which DuckDB {duckdb.__version__} reads with "
            f'its extension {kind}, and that is not installed: run `python -c "import duckdb; '
            f"duckdb.sql('install {kind}')\"` where the network allows it, or export the table to "
            "Parquet"
        ) from error
    scan = f"{kind}_scan({databases.literal(str(place))})"
    statement = f"create or replace temp table {databases.ROWS} as select * from {scan}"
    guard(str(place), lambda: connection.execute(statement))
    return databases.copied(connection, str(place))


def _is_file_of(place: Uri) -> bool:
    """Whether a URI can be told to be no folder without asking for it."""
    path = urlsplit(place).path
    return remote.is_web(place) or is_readable(path) or any(sign in path for sign in "*[")
