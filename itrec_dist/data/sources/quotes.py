"""Refuses text files in which a quotation mark is never closed.

No way of reading such a file with quotation marks fits all of its lines, so DuckDB takes every mark
in it for a part of the value: `"a"` is then another user than `a`.
"""

from pathlib import Path

from itrec_dist.data.database import Database
from itrec_dist.data.source_files import SourceFiles
from itrec_dist.data.sources.staging import Parts, place
from itrec_dist.errors import DataError

_NONE = ("", "(empty)")


def refuse_unclosed(database: Database, source: SourceFiles, parts: Parts, *, header: bool) -> None:
    """Refuse ids of `source_ratings` that kept the quotation marks around them.

    Raises:
        DataError: the message names the row where a mark is not closed, or else the first id.
    """
    if not any(part.is_text for part in source.parts):
        return
    rows = sum(num_rows for _, num_rows in parts)
    if not database.rows("checks/quoted_ids", first_row=0, end_row=rows):
        return
    before = 0
    for part, (_, num_rows) in zip(source.parts, parts, strict=True):
        first, before = before, before + num_rows
        if part.file is None or not part.is_text or _has_marks(database, part.file.path, header):
            continue
        for row in database.rows("checks/quoted_ids", first_row=first, end_row=before):
            raise DataError(
                f"{place(parts, row['row_number'])}: {row['kind']} {row['id']!r} begins with a "
                "quotation mark, and the file cannot be read with marks around its values: close "
                "each one that is open, write marks within a value twice, or leave them out"
            )


def _has_marks(database: Database, file: Path, header: bool) -> bool:
    (found,) = database.rows("staging/table/quote_mark", file=file, header=header)
    return found["quote_mark"] not in _NONE
