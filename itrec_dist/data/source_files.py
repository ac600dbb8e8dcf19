"""Opens users' files in DuckDB: exactly the named ones, each with its own types.

Owns how a file and a column of any type are read, and the refusal of unsuitable types. Leaves which
files there are to data/doors/, the meaning of columns to data/sources/ and the connection to
data/database.py.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow.parquet as pq

from itrec_dist.data.doors.files import InputFile
from itrec_dist.errors import DataError

_FLOATS = {
    "FLOAT": 2**24,
    "DOUBLE": 2**53,
}  # and the bound of exact whole numbers
_SMALL_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_INTEGERS = (*_SMALL_INTEGERS, "UBIGINT", "HUGEINT", "UHUGEINT")
_NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS")
_GUESSED = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID", "JSON")
_UNKNOWN = '"NULL"'  # the type of a column without any value

Guard = Callable[[str, Callable[[], duckdb.DuckDBPyRelation]], duckdb.DuckDBPyRelation]

Mapped = tuple[list["Part"], duckdb.DuckDBPyRelation]


@dataclass(frozen=True)
class SourceColumn:
    """How a column of a user's file is read; without `columns` it is null.

    text: as varchar, whole floats without a decimal point, NaN as null. id: whole numbers as they
    are, all else as text. inexact: whether an id is a float that is not whole or too large to be
    exact. number: as double, or as varchar if a part has text. time: unchanged, but dates and
    timestamps as whole numbers in the unit of `time_unit`: 'us' or 'ns' since 1970, '' for numbers
    and text. lists: any number of columns as one list per row, with a list of text for each column;
    text is split at `|`, of records the name is taken. vector: a list of numbers. texts: any number
    of columns as one list per row, of text each.
    """

    kind: Literal[
        "text", "id", "inexact", "number", "time", "time_unit", "lists", "vector", "texts"
    ]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One file, or the rows of a table or query, and the types of the columns."""

    shown: str
    """What messages call it."""
    types: Mapping[str, duckdb.sqltypes.DuckDBPyType]
    num_rows: int | None
    """None where it is not known before reading."""
    file: InputFile | None = None
    """None for a table."""
    table: str = ""
    """The table's name in DuckDB."""
    names: tuple[str, ...] = ()
    """The columns as a query names them, where two may have one name."""

    @property
    def is_text(self) -> bool:
        """Whether it is a CSV file."""
        return self.file is not None and self.file.kind == "csv"

    @property
    def joins(self) -> object:
        """Equal for consecutive parts that can be read in one go."""
        if self.file is None or self.file.kind != "parquet" or self.file.partitions:
            return self.shown
        return [(name, str(kind)) for name, kind in self.types.items()]


def exactly(path: Path) -> str:
    """The name by which DuckDB opens exactly this file.

    DuckDB treats every name as a pattern, in which a character in brackets matches itself.

    Raises:
        DataError: the name also holds a backslash, which no pattern can express.
    """
    name = str(path.absolute())  # DuckDB would expand a leading ~
    pattern = re.sub(r"[\[*?]", r"[\g<0>]", name)
    if pattern != name and os.sep == "/" and "\\" in name:
        raise DataError(
            f"{path} cannot be read: its path holds both a backslash and one of [ * ?: rename it"
        )
    return pattern


class SourceFiles:
    """Files with the same columns, or a table, opened as one table, in their order."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        given: Sequence[InputFile] | Part,
        guard: Guard,
        header: bool = True,
    ) -> None:
        self._connection, self._guard, self._header = connection, guard, header
        parts = [given] if isinstance(given, Part) else [self._part(file) for file in given]
        self.parts = [p for p in parts if p.num_rows != 0] or parts[:1]
        """The parts with rows: the types of an empty file are meaningless."""

    def mapped(self, columns: Mapping[str, SourceColumn]) -> list[Mapped]:
        """Parts and their rows, to be concatenated, with the given columns in equal types.

        Raises:
            DataError: a column has an unsuitable type, or incompatible types in two parts.
        """
        groups = [list(g) for _, g in groupby(self.parts, key=lambda part: part.joins)]
        readers = [
            {n: _read(column, group[0]) for n, column in columns.items()} for group in groups
        ]
        for name, column in columns.items():
            if column.kind == "time" and column.columns:
                _refuse_numbers_and_dates(column.columns[0], [group[0] for group in groups])
            found = {types[name][1] for types in readers} - {_UNKNOWN}
            kind = found.pop() if len(found) == 1 else "VARCHAR" if found else "BIGINT"
            for types in readers:
                types[name] = (f"({types[name][0]})::{kind}", kind)
        relations = []
        for group, types in zip(groups, readers, strict=True):
            projected = [duckdb.SQLExpression(sql).alias(n) for n, (sql, _) in types.items()]
            relations.append((group, self._open(group).project(*projected)))
        return relations

    def are_plain(self, columns: Sequence[tuple[SourceColumn, str]]) -> bool:
        """Whether all parts have columns whose types leave nothing to parse, or none are named.

        ids: whole numbers or text. whole: whole numbers of 64 bits at most. numbers: any numbers.
        """
        plain = {
            "ids": (*_INTEGERS, "VARCHAR"),
            "whole": _SMALL_INTEGERS,
            "numbers": (*_INTEGERS, *_FLOATS, "BOOLEAN"),
        }
        return all(
            name in part.types and str(part.types[name]) in plain[kind]
            for part in self.parts
            for column, kind in columns
            for name in column.columns
        )

    def whole(self) -> None:
        """Create the view `input` of all parts; a column that a part lacks is null there."""
        for number, part in enumerate(self.parts):
            self._open([part]).create_view(f"input_{number}")
        parts = " union all by name ".join(
            f"select * from input_{number}" for number in range(len(self.parts))
        )
        self._guard(
            self.parts[0].shown,
            lambda: self._connection.sql(parts).create_view("input"),
        )

    def named(self, part: Part, name: str) -> list[str]:
        """The columns of a file that DuckDB cannot tell from `name`, as the file names them.

        It ignores case, and gives all but the first of them another name: `user_1`.
        """
        alike = name.casefold()
        if f"{alike}_1" not in {found.casefold() for found in part.types}:
            return [name] if name in part.types else []
        given = list(part.names or part.types)
        if part.file is not None and part.file.kind == "parquet":
            given = pq.read_schema(part.file.path).names
        elif part.file is not None and part.is_text:
            path = part.file.path
            first = self._guard(part.shown, lambda: self._text(path, header=False).limit(1))
            given = [str(cell) for cell in first.fetchall()[0]]
        return [found for found in given if found.strip("\ufeff ").casefold() == alike]

    def _part(self, file: InputFile) -> Part:
        opened = self._read_file([file])
        taken = [name for name, _ in file.partitions if name in opened.columns]
        if taken:
            raise DataError(
                f"{file.shown} has a column {taken[0]!r} and so has its folder: rename one of them"
            )
        opened = _with_partitions(opened, file)
        types = dict(zip(opened.columns, opened.types, strict=True))
        if file.kind != "parquet":
            return Part(file.shown, types, None, file)
        counted = self._guard(file.shown, lambda: opened.aggregate("count(*)"))
        return Part(file.shown, types, int(counted.fetchall()[0][0]), file)

    def _open(self, parts: Sequence[Part]) -> duckdb.DuckDBPyRelation:
        if parts[0].file is None:
            return self._connection.table(parts[0].table)
        files = [part.file for part in parts if part.file is not None]
        return _with_partitions(self._read_file(files), files[0])

    def _read_file(self, files: Sequence[InputFile]) -> duckdb.DuckDBPyRelation:
        """Parquet files of one schema, or one text file."""
        names = [exactly(file.path) for file in files]
        read = {
            "parquet": lambda: self._connection.read_parquet(
                names, hive_partitioning=False, binary_as_string=True
            ),
            "csv": lambda: self._text(files[0].path, header=self._header),
            "json": lambda: self._json(names[0]),
        }[files[0].kind]
        return self._guard(files[0].shown, read)

    def _json(self, name: str) -> duckdb.DuckDBPyRelation:
        """JSON lines; what is text there stays text, also if it looks like a date."""

        def read(columns: dict[str, str] | None = None) -> duckdb.DuckDBPyRelation:
            return self._connection.read_json(
                name,
                columns=columns,
                format="newline_delimited",
                sample_size=-1,
                hive_partitioning=False,
            )

        found = read()
        types = zip(found.columns, map(str, found.types), strict=True)
        return read({n: "VARCHAR" if kind in _GUESSED else kind for n, kind in types})

    def _text(self, file: Path, *, header: bool) -> duckdb.DuckDBPyRelation:
        return self._connection.read_csv(
            exactly(file),
            header=header,
            hive_partitioning=False,
            all_varchar=True,  # an id 007 is not 7, and 02/01/2020 is ambiguous
            sample_size=-1,
            store_rejects=True,
            rejects_limit=100,
        )


def _with_partitions(opened: duckdb.DuckDBPyRelation, file: InputFile) -> duckdb.DuckDBPyRelation:
    """The rows of a file with the columns that its folders are."""
    if not file.partitions:
        return opened
    added = [
        duckdb.ConstantExpression(value).cast("VARCHAR").alias(name)
        for name, value in file.partitions
    ]
    return opened.project(duckdb.StarExpression(), *added)


def _read(source: SourceColumn, part: Part) -> tuple[str, str]:
    """SQL that reads a column of a part, and the type of the result."""
    if source.kind == "lists":
        lists = [_list(_quoted(c), part.types[c], c, part.shown) for c in source.columns]
        return f"list_value({', '.join(lists)})", "VARCHAR[][]"
    if source.kind in ("vector", "texts"):
        return _vector(source.columns, part) if source.kind == "vector" else _texts(source, part)
    if not source.columns:
        return "null", "VARCHAR" if source.kind == "text" else "DOUBLE"
    name = source.columns[0]
    column, kind = _quoted(name), str(part.types[name])
    if _is_nested(kind):
        raise DataError(
            f"{part.shown}: column {name!r} is of type {kind}: give one number or text per row"
        )
    if source.kind == "time":
        return _time(column, kind, name, part.shown)
    if source.kind == "number":
        is_number = kind in (*_INTEGERS, *_FLOATS, "BOOLEAN") or kind.startswith("DECIMAL")
        return column, "DOUBLE" if is_number else _UNKNOWN if kind == _UNKNOWN else "VARCHAR"
    unit = "ns" if kind in _NANOSECONDS else "us" if _is_date(kind) else ""
    text = _text(column, kind), "VARCHAR"
    return {
        "text": text,
        "id": (column, "BIGINT") if kind in _SMALL_INTEGERS else text,
        "inexact": (_is_inexact(column, kind), "BOOLEAN"),
        "time_unit": (f"'{unit}'", "VARCHAR"),
    }[source.kind]


def _texts(source: SourceColumn, part: Part) -> tuple[str, str]:
    texts = [_read(SourceColumn("text", (name,)), part)[0] for name in source.columns]
    return f"list_value({', '.join(texts)})", "VARCHAR[]"


def _vector(columns: tuple[str, ...], part: Part) -> tuple[str, str]:
    if not columns:
        return "null", "FLOAT[]"
    kind = str(part.types[columns[0]])
    number = re.sub(r"\[\d*\]$", "", kind)
    if number == kind or number not in (*_INTEGERS, *_FLOATS):
        raise DataError(
            f"{part.shown}: column {columns[0]!r} is of type {kind}: give lists of numbers, in "
            "Parquet, all of one length"
        )
    return _quoted(columns[0]), "FLOAT[]"


def _text(value: str, kind: str) -> str:
    """SQL of a value as text: whole floats without a decimal point, NaN as null."""
    if kind in _FLOATS:
        whole = f"{value} = trunc({value}) and abs({value}) < {_FLOATS[kind]}"
        return (
            f"case when isnan({value}) then null when {whole} "
            f"then try_cast({value} as bigint)::varchar else {value}::varchar end"
        )
    if kind.startswith("DECIMAL"):
        whole = f"{value} = trunc({value})"
        return f"case when {whole} then trunc({value})::hugeint::varchar else {value}::varchar end"
    return f"{value}::varchar"


def _is_inexact(value: str, kind: str) -> str:
    if kind in _FLOATS:
        large = f"abs({value}) >= {_FLOATS[kind]}"
        return f"coalesce(not isnan({value}) and ({value} != trunc({value}) or {large}), false)"
    if kind.startswith("DECIMAL"):
        return f"coalesce({value} != trunc({value}), false)"
    return "false"


def _time(column: str, kind: str, name: str, path: str) -> tuple[str, str]:
    if kind in _NANOSECONDS:
        return f"epoch_ns({column})", "BIGINT"
    if _is_date(kind):
        return f"epoch_us({column}::timestamp)", "BIGINT"
    if kind in _SMALL_INTEGERS:
        return column, "BIGINT"
    if kind in _FLOATS:
        return column, "DOUBLE"
    if kind == _UNKNOWN:
        return column, _UNKNOWN
    if kind in _INTEGERS or kind.startswith("DECIMAL") or kind == "VARCHAR":
        return column, "VARCHAR"
    raise DataError(f"{path}: column {name!r} is of type {kind}: give numbers, dates or timestamps")


def _list(column: str, kind: duckdb.sqltypes.DuckDBPyType, name: str, path: str) -> str:
    """SQL of a category column as a list of text."""
    type_name = str(kind)
    if type_name.endswith("]"):
        inner = dict(kind.children)["child"]
        assert isinstance(inner, duckdb.sqltypes.DuckDBPyType)
        element = _category("element", inner, name, path)
        return f"list_transform({column}::{inner}[], lambda element: {element})"
    if type_name == "VARCHAR":
        return f"string_split({column}, '|')"
    return f"[{_category(column, kind, name, path)}]"


def _category(value: str, kind: duckdb.sqltypes.DuckDBPyType, name: str, path: str) -> str:
    type_name = str(kind)
    if type_name.startswith("STRUCT"):
        fields = dict(kind.children)
        if "name" in fields and not _is_nested(str(fields["name"])):
            return _text(f'{value}."name"', str(fields["name"]))
    if _is_nested(type_name):
        raise DataError(
            f"{path}: column {name!r} holds values of type {type_name}, which are not categories: "
            "give text, lists of text, or records with a field 'name'"
        )
    return _text(value, type_name)


def _refuse_numbers_and_dates(name: str, parts: Sequence[Part]) -> None:
    """Refuse a column that is a number of some unit in one part and a date in another."""
    kinds = [(part, str(part.types[name])) for part in parts]
    dates = [found for found in kinds if _is_date(found[1])]
    numbers = [f for f in kinds if not _is_date(f[1]) and f[1] not in ("VARCHAR", _UNKNOWN)]
    if dates and numbers:
        (first, date), (second, number) = dates[0], numbers[0]
        raise DataError(
            f"column {name!r} is {date} in {first.shown} and {number} in {second.shown}, whose "
            "unit is not known: give it the same type in every part"
        )


def _is_date(kind: str) -> bool:
    return kind.startswith(("TIMESTAMP", "DATE"))


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "VARIANT"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
