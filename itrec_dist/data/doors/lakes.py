"""Tables of Delta Lake and Iceberg as inputs, by the packages deltalake and pyiceberg.

Their folders hold Parquet files, but also those of rows that were deleted or replaced since: only
the table's own log says which of them count. So such a folder is never read as plain files. What a
package cannot honour, such as a feature of a newer version of the format, is refused.

Object stores are reached as by the other doors: with credentials from the environment or the
provider's own files, and with region and endpoint in the address or the environment.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import pyarrow as pa

from itrec_dist.data.doors import choice, remote
from itrec_dist.data.doors.files import InputFile, is_readable
from itrec_dist.data.doors.streams import Stream
from itrec_dist.errors import DataError
from itrec_dist.storage.uri import Uri

Lake = Literal["delta", "iceberg"]

_TITLES: dict[Lake, str] = {"delta": "Delta Lake", "iceberg": "Iceberg"}
_METADATA = ".metadata.json"
_VERSION = re.compile(r"v?([0-9]+)(?:-[^/]*)?(?:\.gz)?\.metadata\.json")
"""The names of Iceberg's metadata files: those of a catalogue's tables, and those of a folder's."""


def lake_of(place: Path | Uri) -> Lake | None:
    """What kind of table a folder or URI is; None if it is none.

    A metadata file of Iceberg is the table of that moment.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    if place.name.endswith(_METADATA):
        return "iceberg"
    if isinstance(place, Path):
        if (place / "_delta_log").is_dir():
            return "delta"
        return "iceberg" if any(place.glob(f"metadata/*{_METADATA}")) else None
    if _is_file_of(place):
        return None
    names = remote.names(place)
    if any(name.startswith("_delta_log/") for name in names):
        return "delta"
    of_iceberg = (n.startswith("metadata/") and n.endswith(_METADATA) for n in names)
    return "iceberg" if any(of_iceberg) else None


def rows(place: Path | Uri, kind: Lake, scratch: Path) -> InputFile:
    """The rows of the table as it is now, as a file below `scratch`.

    Raises:
        DataError: it cannot be read.
        EnvironmentProblem: the package for it is missing.
    """
    stream = _delta(place) if kind == "delta" else _iceberg(place)
    return InputFile(stream.keep(scratch), str(place))


def _delta(place: Path | Uri) -> Stream:
    """The rows by deltalake's SQL reader, which honours deletion vectors and mapped columns.

    Its `to_pyarrow_dataset` does not: it gives nulls for columns that were renamed.
    """
    try:
        from deltalake import DeltaTable, QueryBuilder
    except ImportError as error:
        raise choice.no_package(place, "deltalake", "delta") from error
    address, region, endpoint = _address(place)
    settings = {"AWS_REGION": region, "AWS_ENDPOINT_URL": endpoint}
    if (endpoint or "").startswith("http://"):
        settings["AWS_ALLOW_HTTP"] = "true"
    options = {name: value for name, value in settings.items() if value}
    try:
        table = DeltaTable(address, storage_options=options if "://" in address else None)
        found = QueryBuilder().register("events", table).execute("select * from events")
        reader = pa.RecordBatchReader.from_stream(found)
    except Exception as error:  # it names but few of them
        raise _refused(place, "delta", error) from error
    return Stream(str(place), reader.schema, _batches(reader, place, "delta"))


def _iceberg(place: Path | Uri) -> Stream:
    """The rows by pyiceberg, which honours deleted positions and refuses deletions by value."""
    try:
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise choice.no_package(place, "pyiceberg", "iceberg") from error
    newest = place if place.name.endswith(_METADATA) else _newest_metadata(place)
    address, region, endpoint = _address(newest)
    settings = {"s3.region": region, "s3.endpoint": endpoint}
    properties = {name: value for name, value in settings.items() if value}
    properties["py-io-impl"] = "pyiceberg.io.pyarrow.PyArrowFileIO"
    try:
        reader = StaticTable.from_metadata(address, properties).scan().to_arrow_batch_reader()
    except Exception as error:  # those of Avro, JSON, pydantic, pyarrow and its own
        raise _refused(place, "iceberg", error) from error
    return Stream(str(place), reader.schema, _batches(reader, place, "iceberg"))


def _batches(
    reader: pa.RecordBatchReader, place: Path | Uri, kind: Lake
) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except Exception as error:
            raise _refused(place, kind, error) from error
        yield batch


def _newest_metadata(place: Path | Uri) -> Path | Uri:
    """The metadata file of the highest version.

    Raises:
        DataError: there are two of that version, of which one was never committed.
    """
    if isinstance(place, Path):
        names = [path.name for path in place.glob(f"metadata/*{_METADATA}")]
    else:
        inside = (name.partition("metadata/") for name in remote.names(place))
        names = [name for before, _, name in inside if not before and name.endswith(_METADATA)]
    versions = [(int(m.group(1)), name) for name in names if (m := _VERSION.fullmatch(name))]
    newest = [name for version, name in versions if version == max(versions)[0]]
    if len(newest) != 1:
        shown = ", ".join(sorted(newest or names))
        raise DataError(
            f"{place} does not say which of its metadata files is the newest ({shown}): give the "
            f"one that its catalogue names, such as {place}/metadata/{sorted(newest or names)[0]}"
        )
    if isinstance(place, Path):
        return place / "metadata" / newest[0]
    return place.below(f"metadata/{newest[0]}")


def _address(place: Path | Uri) -> tuple[str, str | None, str | None]:
    """An absolute path, or a URI without options, and the region and endpoint of S3."""
    if isinstance(place, Path):
        return str(place.absolute()), None, None
    parts = urlsplit(place)
    if parts.scheme == "file":  # the packages disagree on what a percent sign means there
        return unquote(parts.path), None, None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    region = options.get("region")
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if given := options.get("endpoint_override"):
        endpoint = given if "://" in given else f"{options.get('scheme', 'https')}://{given}"
    return urlunsplit(parts._replace(query="")), region, endpoint


def _refused(place: Path | Uri, kind: Lake, error: Exception) -> DataError:
    reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().split("\n", 1)[0]
    if re.match(r"\d+ validation errors? ", reason):  # of pydantic, which shows none on that line
        reason = "its metadata file is damaged, or of an unknown version"
    return DataError(
        f"{place} cannot be read as a table of {_TITLES[kind]}: {reason or type(error).__name__}"
    )


def _is_file_of(place: Uri) -> bool:
    """Whether a URI can be told to be no folder without asking for it."""
    path = urlsplit(place).path
    return remote.is_web(place) or is_readable(path) or any(sign in path for sign in "*[")
