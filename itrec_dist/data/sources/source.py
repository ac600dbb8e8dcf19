"""The interface of a source of ratings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from itrec_dist.data.database import Database
from itrec_dist.data.sources.staging import Staged


@dataclass(frozen=True)
class Source(ABC):
    """One format of raw ratings: a frozen dataclass whose fields are options of `itrec window`.

    Every field has a default and a docstring under it. A source without settings has no fields.
    """

    sql_folder: ClassVar[Path | None] = None
    """Folder of the SQL files of a source outside itrec_dist, searched before the shipped `sql/`;
    keep its files in a subfolder there, so that they hide no others."""

    takes_places: ClassVar[bool] = False
    """Whether `stage` also takes URIs, and a tuple of several inputs."""

    @property
    def event_columns(self) -> tuple[str, ...]:
        """The columns of events that it stages as features, which histories alone take."""
        return ()

    @abstractmethod
    def stage(self, database: Database, path: Path) -> Staged:
        """Fill the tables `ratings`, `items`, `item_features` and `user_features` from `path`.

        Their columns:

        * `ratings`, in the order of the file: `user_source_id` and `item_source_id` (varchar),
          `event_time` (bigint, seconds, or any unit in a user's table), `rating` (double, or
          null where there are none);
        * `items`, one row per item: `item_source_id`, `title` (varchar), `release_year` (integer),
          `genres` (varchar[]); `staging.register_no_items` makes one without rows;
        * `item_features` and `user_features`, one row per value: `item_source_id` or
          `user_source_id`, `feature`, `feature_value` (all varchar); likewise
          `staging.register_no_features`;
        * `event_features`, if `event_columns` names any, one row per rating: `source_row` (the
          rowid in `ratings`), `feature_values` (varchar[], in their order, null where missing).

        Raises:
            DataError: a file is missing or cannot be read; the message names file and row.
        """

    def recorded(self) -> dict[str, Any]:
        """The settings as recorded in the manifest."""
        return {}
