"""The sections of a report, one file per task.

A file `some_name.py` defines one class `SomeNameSection`, a `TaskSection`; a task names its file as
`section`. A task without one uses `TaskSection` itself.
"""

from itrec_dist.config.registry import Registry
from itrec_dist.reports.arms import Section
from itrec_dist.reports.sections.section import TaskSection
from itrec_dist.tasks import TASKS

SECTIONS: Registry[type[TaskSection]] = Registry(
    "report section", "itrec_dist.reports.sections", group="itrec_dist.sections", suffix="Section"
)
"""Name -> class."""


def class_of(task: str) -> type[TaskSection]:
    """The section class for a task."""
    name = TASKS[task].section
    return SECTIONS[name] if name in SECTIONS else TaskSection  # noqa: SIM401  not a KeyError


def of(section: Section) -> TaskSection:
    """The section of a report for these runs."""
    return class_of(section.task)(section)
