"""What all databases share: a table is chosen among others, a query stands in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from itrec_dist.data.doors.streams import Stream
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem

Listed = tuple[str, str, bool]
"""Schema and name of a table or view, and whether it is a table."""


class Server(Protocol):
    """A database that was connected to, for reading."""

    def tables(self) -> list[Listed]:
        """Its tables and views: schema, name and whether it is a table, in order.

        Raises:
            DataError: they cannot be listed.
        """

    def table(self, schema: str, name: str, shown: str) -> Stream:
        """The rows of a table.

        Raises:
            DataError: they cannot be read, such as for lack of a privilege.
        """

    def query(self, text: str, shown: str) -> Stream:
        """The rows of a query in the server's SQL.

        Raises:
            DataError: it cannot be run, or is no SELECT.
        """

    def close(self) -> None:
        """End the connection."""


def table(shown: str, listed: Sequence[Listed], wanted: str | None) -> Listed:
    """The table of that name, with or without its schema; without a name the only one.

    Raises:
        DataError: there is no such table, or there are several.
    """
    matching = [
        found for found in listed
        if wanted is None or wanted in (found[1], f"{found[0]}.{found[1]}")
    ]  # fmt: skip
    if len(matching) == 1:
        return matching[0]
    several = len({schema for schema, _, _ in listed}) > 1
    names = [f"{schema}.{name}" if several else name for schema, name, _ in listed]
    tables = ", ".join(names)
    if not listed:
        raise DataError(f"{shown} holds no table: give a database with a table of events")
    if wanted is None:
        raise DataError(f"{shown} holds {len(names)} tables ({tables}): name one with --table")
    if matching:
        raise DataError(f"{shown} has {len(matching)} tables {wanted!r} ({tables}): add the schema")
    raise DataError(f"{shown} has no table {wanted!r}, its tables are {tables}: name one of them")


def query_text(path: Path) -> str:
    """The text of a --query.

    Raises:
        ConfigError: there is no such file, or it is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--query {path} cannot be read: {reason}") from error


def no_package(place: object, package: str, extra: str) -> EnvironmentProblem:
    """The sentence of an optional package that is not installed."""
    return EnvironmentProblem(
        f"{place} is read with the package {package}, which is not installed: pip install "
        f"'itrec-dist[{extra}]', or export the table to Parquet"
    )


def no_select(shown: str, server: str) -> DataError:
    """The refusal of a statement that gives no rows."""
    return DataError(f"{shown} is not one SELECT of {server}: it gives no columns")
