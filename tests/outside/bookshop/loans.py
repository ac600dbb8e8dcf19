"""Loans of books: lines of reader, book, day and stars, such as `ann|emma|2024-03-01|4`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from itrec_dist.data.database import Database
from itrec_dist.data.sources.source import Source
from itrec_dist.data.sources.staging import (
    Staged,
    checksum,
    refuse_rejected,
    register_no_features,
    register_no_items,
)
from itrec_dist.errors import DataError


@dataclass(frozen=True)
class LoansConfig(Source):
    """How the lines are split."""

    sql_folder: ClassVar[Path | None] = Path(__file__).parent / "sql"

    separator: str = ";"
    """Separator between two values of a line."""

    def stage(self, database: Database, path: Path) -> Staged:
        if not path.is_file():
            raise DataError(f"there is no file {path}: give the loans, one per line")
        database.table("ratings", "loans/ratings", path=path, separator=self.separator)
        refuse_rejected(database)
        register_no_items(database)
        register_no_features(database, "item")
        register_no_features(database, "user")
        return Staged(
            ratings_file=path,
            items_file=None,
            has_ratings=True,
            item_features=(),
            user_features=(),
            files=(checksum(path),),
            latest_time=None,
        )
