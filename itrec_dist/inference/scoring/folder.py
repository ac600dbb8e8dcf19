"""The folder of a batch of recommendations, at a path or a URI.

    OUT/
      part-00000.parquet   the first users' recommendations; parts in order are one table in order
      _request.json        what is asked for, and how users are cut into parts; written first
      _histories/          the histories of the users of each part, until all parts are there
      _summary.json        what came out; written last

Arrow, DuckDB, Polars, Spark and Ray read `OUT/*.parquet`, and those that take a folder pass over
names with an underscore. A part is complete if its footer can be read, which stands at its end, and
names the request: then it is never written again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.errors import OutputError
from itrec_dist.storage import atomic
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri

REQUEST = "_request.json"
SUMMARY = "_summary.json"
_HISTORIES = "_histories"
_FOOTER = b"itrec_dist"

Existing = Literal["refuse", "overwrite", "resume"]
"""What to do with a folder that is there already."""


class Folder:
    """The files of a batch."""

    def __init__(self, place: Uri | Path) -> None:
        """Connect to it; nothing is read or written yet.

        Raises:
            ConfigError: the URI names no file system.
            EnvironmentProblem: its file system cannot be reached.
        """
        self.place = place if isinstance(place, Uri) else place.absolute()
        self._store = Store(place) if isinstance(place, Uri) else None

    def is_taken(self) -> bool:
        """Whether there is anything in it.

        Raises:
            OutputError: it is a file, or holds what no batch has written.
        """
        if self._store is not None:
            names = set(self._store.files())
        elif isinstance(self.place, Path) and self.place.is_file():
            raise OutputError(
                f"{self.place} is a file, with --workers --out is a folder: choose another place"
            )
        else:
            names = {path.name for path in Path(self.place).glob("*")}
        if names and REQUEST not in names:
            raise OutputError(
                f"{self.place} holds no {REQUEST}, so it was not made by this command and is "
                "neither continued nor replaced: choose another place"
            )
        return bool(names)

    def clear(self) -> None:
        """Remove all that a batch has written, what it was asked for last.

        Raises:
            EnvironmentProblem: its URI cannot be reached.
        """
        if self._store is None:
            atomic.remove(Path(self.place))
            return
        names = set(self._store.files())
        for name in sorted(names - {REQUEST}):
            self._store.remove(name)
        self._store.remove(REQUEST)

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file; None if there is none.

        Raises:
            OutputError: it is damaged.
        """
        if self._store is not None:
            content = self._store.read(name)
        else:
            path = Path(self.place) / name
            content = path.read_bytes() if path.is_file() else None
        try:
            found: dict[str, Any] | None = None if content is None else json.loads(content)
        except ValueError as error:
            raise OutputError(
                f"{self.place}/{name} is damaged: start again with --overwrite"
            ) from error
        return found

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file."""
        if self._store is not None:
            self._store.write(name, atomic.json_text(content).encode())
        else:
            atomic.write_json(Path(self.place) / name, content)

    def is_complete(self, part: int, request: str) -> dict[str, Any] | None:
        """What was counted in a part of this request; None if it is not there or not whole."""
        with contextlib.suppress(pa.ArrowException, OSError, ValueError, KeyError):
            with self._opened(part_name(part)) as source, pq.ParquetFile(source) as file:
                counts: dict[str, Any] = json.loads(file.metadata.metadata[_FOOTER])
            return counts if counts["request"] == request else None
        return None

    def write_part(self, part: int, tables: Iterator[pa.Table], footer: dict[str, Any]) -> None:
        """Write a part, whole or not at all; `footer` is read when all tables are written."""
        with self._new_file(part_name(part)) as path:
            first = next(tables)
            with pq.ParquetWriter(path, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)
                writer.add_key_value_metadata({_FOOTER: json.dumps(footer)})

    def write_histories(self, part: int, table: pa.Table) -> None:
        """Keep the histories of the users of a part until it is written."""
        with self._new_file(f"{_HISTORIES}/{part_name(part)}") as path:
            pq.write_table(table, path, compression="zstd")

    def read_histories(self, part: int) -> pa.Table:
        """The histories of the users of a part.

        Raises:
            OutputError: they are not there, or damaged.
            EnvironmentProblem: its URI cannot be reached.
        """
        name = f"{_HISTORIES}/{part_name(part)}"
        try:
            with self._opened(name) as source, pq.ParquetFile(source) as file:
                return file.read()
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.place}/{name} cannot be read here: --out must be a URI, or a path that "
                "every node reaches"
            ) from error
        except pa.ArrowException as error:
            raise OutputError(
                f"{self.place}/{name} is damaged: start again with --overwrite"
            ) from error

    def remove_histories(self) -> None:
        """Remove them."""
        if self._store is not None:
            for name in self._store.files(_HISTORIES):
                self._store.remove(name)
        else:
            shutil.rmtree(Path(self.place) / _HISTORIES, ignore_errors=True)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        if self._store is None:
            with (Path(self.place) / name).open("rb") as source:
                yield source
            return
        found = self._store.open(name)
        if found is None:
            raise FileNotFoundError(name)
        with found as source:
            yield source

    @contextlib.contextmanager
    def _new_file(self, name: str) -> Iterator[Path]:
        if self._store is None:
            with atomic.new_file(Path(self.place) / name) as building:
                yield building
            return
        with tempfile.TemporaryDirectory(prefix="itrec-part-") as scratch:
            building = Path(scratch) / "part.parquet"
            yield building
            self._store.upload(building, name)


def part_name(part: int) -> str:
    """`part-00000.parquet`."""
    return f"part-{part:05d}.parquet"
