"""The one item that follows: every event is predicted from those before it.

Each user's last event is for test, the one before it for validation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from itrec_dist.data.database import Database
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing.leakage import Leakage
from itrec_dist.data.windowing.task_windows import Steps, TaskWindows
from itrec_dist.metrics.metric import FigureName
from itrec_dist.tasks.data import TaskData
from itrec_dist.tasks.next_items.task import NextItems


@dataclass(frozen=True)
class NextOneConfig:
    """How events become windows."""

    protocol: str = "last_one"
    """Name of the split protocol."""
    input_length: int = 5
    """Number of latest earlier events of a window, L."""
    num_shards: int = 2
    """Files of the training split."""
    memory_limit: str | None = None
    """Memory of DuckDB."""
    threads: int | None = None
    """Threads of DuckDB."""

    @property
    def target_length(self) -> int:
        """One."""
        return 1


class NextOneWindows(TaskWindows[NextOneConfig]):
    """One window per event with an earlier one."""

    settings = NextOneConfig
    protocols = ("last_one",)
    leakage = Leakage(
        {"inputs_not_before": "inputs at or after their target"},
        {"inputs": "inputs"},
        {"last_one": ("inputs_not_before",)},
    )
    description = "Cut events into windows of one target each."
    sql_folder = Path(__file__).parent / "sql"

    def cut(self, database: Database, config: NextOneConfig) -> Steps:
        database.table("dealt", "next_one/dealt")
        for name in ("catalogue", "kept_users", "sequences"):
            database.table(name, f"ratings/{name}")
        return window_settings.steps(["read"], database.rows("ratings/steps")[:1])

    def frame(self, database: Database, config: NextOneConfig) -> None:
        database.table("windows", "next_one/windows", input_length=config.input_length)

    def audit(self, database: Database, config: NextOneConfig) -> dict[str, Any]:
        def counts(split: str) -> dict[str, int]:
            return database.rows("next_one/leaks", split=split)[0]

        return self.leakage.audit(database, config.protocol, counts)


class NextOne(NextItems):
    """The next-items task with another loss and another figure."""

    losses: ClassVar[tuple[str, ...]] = ("sampled",)
    headline: ClassVar[FigureName] = FigureName("masked", "f1", 10)
    section: ClassVar[str] = ""
    data: ClassVar[TaskData | None] = TaskData(NextOneWindows())
