"""Which files an input names: exactly one, those of a folder, of a pattern or of a Hive folder.

A path or URI names exactly one file or folder; only `glob` makes a pattern of it, and only `hive`
makes columns of folders `key=value`. Files at a URI are copied to this machine, and hashed like all
others: their checksums are part of the manifest.
"""

import glob as patterns
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from itrec_dist.data.doors import remote
from itrec_dist.data.doors.memory import Rows
from itrec_dist.errors import DataError
from itrec_dist.storage.uri import Uri

Kind = Literal["parquet", "csv", "json"]
Place = Path | Uri | Rows
Layout = Literal["exact", "glob", "hive"]

_KINDS: dict[str, Kind] = {
    ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json"
}  # fmt: skip
_PACKED = (".gz", ".zst")
SUFFIXES = (*_KINDS, *(s + packed for s in _KINDS if s != ".parquet" for packed in _PACKED))
"""How the names of readable files end."""
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class InputFile:
    """One file on this machine, what messages call it, and the columns that its folders are."""

    path: Path
    shown: str
    partitions: tuple[tuple[str, str | None], ...] = ()

    @property
    def kind(self) -> Kind:
        """Its format, by its name."""
        suffixes = [s for s in self.path.suffixes if s not in _PACKED]
        return _KINDS[suffixes[-1]]


def found(places: Sequence[Place], layout: Layout, scratch: Path) -> list[InputFile]:
    """The files that the inputs name, in the order of the inputs and of the numbers in their names.

    Files at URIs are copied to the folder `scratch`, and rows in memory written to it.

    Raises:
        DataError: an input names no readable file.
        EnvironmentProblem: a URI cannot be reached.
    """
    return [file for place in places for file in _of(place, layout, scratch)]


def is_readable(name: str) -> bool:
    """Whether a file of this name can be read."""
    return name.endswith(SUFFIXES)


def _of(place: Place, layout: Layout, scratch: Path) -> Iterator[InputFile]:
    if isinstance(place, Uri):
        names = _remote_names(place, layout)
        for base, name in names:
            shown = str(base.below(name))
            local = remote.fetch(base, name, scratch)
            yield InputFile(local, shown, _partitions(name, shown) if layout == "hive" else ())
        return
    if isinstance(place, Rows):
        if layout != "exact":
            raise DataError(f"{place} is no folder of files: leave out glob and hive")
        yield InputFile(place.write(scratch), str(place))
        return
    for path in _local(place, layout):
        name = path.relative_to(place).as_posix() if layout == "hive" else ""
        _refuse_unreadable(path)
        yield InputFile(path, str(path), _partitions(name, str(path)))


def _local(path: Path, layout: Layout) -> list[Path]:
    if layout == "glob":
        matching = [Path(m) for m in patterns.glob(str(path), recursive=True)]  # noqa: PTH207
        files = _in_order([p for p in matching if p.is_file() and is_readable(p.name)])
        if not files:
            raise DataError(f"no file matches {path}: --glob reads {_listed()}")
        return files
    if layout == "hive":
        if not path.is_dir():
            raise DataError(f"{path} is no folder: --hive reads the files in folders key=value")
        below = (p for p in path.rglob("*") if p.is_file() and is_readable(p.name))
        files = _in_order([p for p in below if not _is_hidden(p.relative_to(path).as_posix())])
        if not files:
            raise DataError(f"{path} holds no file to read: --hive reads {_listed()}")
        return files
    if path.is_dir():
        files = _in_order(list(path.glob("*.parquet")))
        if not files:
            raise DataError(
                f"{path} holds no *.parquet: give a file, or a folder of Parquet files, and --hive "
                "true for folders key=value"
            )
        return files
    if not path.is_file():
        raise DataError(f"there is no file {path}: give a {_listed()} file")
    if not is_readable(path.name):
        raise DataError(f"{path} is of an unknown kind: give a {_listed()} file")
    return [path]


def _remote_names(uri: Uri, layout: Layout) -> list[tuple[Uri, str]]:
    """The files at a URI, each as a folder and a name in it."""
    if layout == "exact" and (is_file := remote.is_file(uri)) is not False:
        folder, name = _split(uri)
        if is_file is None:
            raise DataError(f"there is nothing at {uri}: give the URI of a {_listed()} file")
        if not is_readable(name):
            raise DataError(f"{uri} is of an unknown kind: give a {_listed()} file")
        return [(folder, name)]
    folder, pattern = uri, ""
    if layout == "glob":
        while pattern == "" or re.search(r"[*\[]", urlsplit(folder).path):
            folder, name = _split(folder)
            pattern = f"{name}/{pattern}" if pattern else name
    names = [n for n in remote.names(folder) if is_readable(n) and not _is_hidden(n)]
    if layout == "exact":
        names = [n for n in names if "/" not in n and n.endswith(".parquet")]
    elif layout == "glob":
        wanted = _pattern(pattern)
        names = [n for n in names if wanted.fullmatch(n)]
    if not names:
        raise DataError(f"{uri} names no file to read: give {_listed()} files")
    return [(folder, name) for name in sorted(sorted(names), key=in_natural_order)]


def _split(uri: Uri) -> tuple[Uri, str]:
    """The folder and the last name of a URI's path."""
    parts = urlsplit(uri)
    folder, _, name = parts.path.rpartition("/")
    return Uri(urlunsplit(parts._replace(path=folder))), name


def _pattern(text: str) -> re.Pattern[str]:
    """`*` and brackets match within a name, `**` matches any folders."""
    parts = []
    for part in text.split("/"):
        if part == "**":
            parts.append("(?:.*/)?")
            continue
        inner = re.sub(r"(\[[^\]]+\])|(\*)|(.)", _translated, part)
        parts.append(inner + "/")
    return re.compile("".join(parts).removesuffix("/"))


def _translated(match: re.Match[str]) -> str:
    brackets, star, other = match.groups()
    if brackets:
        return f"[{brackets[1:-1].replace('!', '^', 1)}]"
    return "[^/]*" if star else re.escape(other)


def _partitions(name: str, shown: str) -> tuple[tuple[str, str | None], ...]:
    """The columns that the folders of a name are; text, without a guess at its type."""
    pairs = [part.partition("=") for part in PurePosixPath(name).parts[:-1] if "=" in part]
    keys = [key for key, _, _ in pairs]
    if len(set(keys)) != len(keys):
        raise DataError(f"{shown} has two folders of one key ({', '.join(keys)}): rename one")
    return tuple((unquote(k), None if v == _NO_VALUE else unquote(v)) for k, _, v in pairs)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/") if "=" not in part)


def _in_order(paths: list[Path]) -> list[Path]:
    return sorted(sorted(paths), key=lambda path: in_natural_order(path.as_posix()))


def in_natural_order(name: str) -> list[list[tuple[int, int | str]]]:
    """Sort key that puts part-2 before part-10, folder by folder."""
    return [
        [(0, int(p)) if n % 2 else (1, p) for n, p in enumerate(re.split(r"([0-9]+)", part))]
        for part in name.split("/")
    ]


def _refuse_unreadable(path: Path) -> None:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: give a file with a header and one row per event")
    if path.suffix in (".csv", ".tsv"):
        with path.open("rb") as file:
            if b"\0" in file.read(4096):  # UTF-16 and the like
                raise DataError(f"{path} is not UTF-8 text: save it as UTF-8")


def _listed() -> str:
    return " or ".join((*_KINDS, ".csv.gz", ".jsonl.zst"))
