"""Tables and queries of Postgres and MySQL as inputs, each by the package that speaks to it.

Rows are streamed to a Parquet file on this machine in a transaction that cannot write, so that
memory holds one batch of them and all are of one moment. A query goes to the server as it is, in
the server's own SQL: DuckDB has extensions that would run it here, over tables that they copy, but
none for every version of DuckDB.

Credentials are never part of an address: the packages take them from the environment or from the
files that the servers' own clients read.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

from itrec_dist.data.doors import choice, mysql, postgres
from itrec_dist.data.doors.files import InputFile
from itrec_dist.errors import DataError
from itrec_dist.storage.uri import Uri

_CONNECT: dict[str, Callable[[Uri], choice.Server]] = {
    "postgres": postgres.connect, "postgresql": postgres.connect, "mysql": mysql.connect
}  # fmt: skip
"""By the scheme of an address."""

_NO_WORDS = re.compile(
    r"""'[^']*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""", re.DOTALL
)
"""What a query quotes or comments on."""
_INNERMOST = re.compile(r"\([^()]*\)")
_END = re.compile(r"(?:;|\s|--[^\n]*(?=\n|$)|/\*(?:(?!\*/).)*\*/)*\Z", re.DOTALL)


def is_server(place: object) -> TypeGuard[Uri]:
    """Whether an input is the address of a Postgres or MySQL."""
    return isinstance(place, Uri) and urlsplit(place).scheme in _CONNECT


def table(place: Uri, wanted: str | None, scratch: Path) -> InputFile:
    """The rows of a table or view, as a file below `scratch`.

    Raises:
        DataError: there is no such table, there are several and none is named, or it is not read.
        EnvironmentProblem: the package for the server is missing, or it is not reached.
    """
    server = _connected(place)
    try:
        schema, name, _ = choice.table(str(place), server.tables(), wanted)
        rows = server.table(schema, name, f"table {name} of {place}")
        return InputFile(rows.keep(scratch), rows.shown)
    finally:
        server.close()


def query(place: Uri, path: Path, scratch: Path) -> tuple[InputFile, bool]:
    """The rows of the query in a file, likewise; also whether it says in which order they come.

    Raises:
        ConfigError: there is no such file.
        DataError: it cannot be run.
        EnvironmentProblem: the package for the server is missing, or it is not reached.
    """
    text = _END.sub("", choice.query_text(path))
    if not _NO_WORDS.sub("", text).strip():
        raise DataError(f"{path} holds 0 statements: give one SELECT")
    server = _connected(place)
    try:
        rows = server.query(text, str(path))
        return InputFile(rows.keep(scratch), rows.shown), has_order(text)
    finally:
        server.close()


def has_order(text: str) -> bool:
    """Whether a query ends with an ORDER BY: one outside of all parentheses."""
    text = _NO_WORDS.sub(" ", text)
    while (shorter := _INNERMOST.sub(" ", text)) != text:
        text = shorter
    return re.search(r"\border\s+by\b", text, re.IGNORECASE) is not None


def _connected(place: Uri) -> choice.Server:
    return _CONNECT[urlsplit(place).scheme](place)
