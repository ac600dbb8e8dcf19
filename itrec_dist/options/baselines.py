"""The options of `itrec baselines`: with the settings of each baseline of the shards' task."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.data.shards import fetch
from itrec_dist.errors import ConfigError, ItrecError
from itrec_dist.options.evaluate import add_choice
from itrec_dist.storage.uri import Uri, parse_place
from itrec_dist.tasks.baselines import TaskBaselines


class _BaselineParser(config.Parser):
    """Lists the baselines of all built-in tasks; switches to the shards' task once known."""

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse with the baseline settings of the shards' task, if the shards can be read."""
        from itrec_dist import tasks

        if (shards := _shards_in(arguments)) is not None:
            try:
                task = tasks.task_of(fetch.manifest_of(shards))
            except ItrecError:  # reported when the command runs
                return super().parse(arguments)
            return _parser(config.Parser, [task]).parse(arguments)
        return super().parse(arguments)


def parser() -> config.Parser:
    """Options of `itrec baselines`."""
    from itrec_dist import tasks

    return _parser(_BaselineParser, tasks.WITH_WINDOWS)


def _parser(kind: type[config.Parser], of_tasks: Sequence[str]) -> config.Parser:
    registries = [baselines_of(task).registry for task in of_tasks]
    made = kind(
        "itrec baselines",
        "Evaluate the non-neural baselines on the rows of a shards folder. Each is fitted on "
        "the training rows and written as a run directory, which `itrec report` reads.",
    )
    made.add_argument(
        "--shards", type=Uri | Path, required=True,
        help="Folder that `itrec window` wrote, or its URI.",
    )  # fmt: skip
    made.add_argument(
        "--out",
        type=Uri | Path,
        required=True,
        help="Folder for OUT/NAME per baseline, or its URI.",
    )
    known = [
        f"{task}: {', '.join(registry)}"
        for task, registry in zip(of_tasks, registries, strict=True)
    ]
    made.add_argument(
        "--only",
        type=str,
        default="",
        help="Comma-separated baselines to evaluate; all that suit the shards if not given "
        f"({'; '.join(known)}).",
    )
    add_choice(
        made, "null takes [5, 10, 20] and no additional metrics",
        "null takes history for histories and input for windows",
    )  # fmt: skip
    made.add_argument("--overwrite", action="store_true", help="Replace existing run directories.")
    for registry in registries:
        for name, settings in registry.items():
            made.add_class_arguments(settings, name)
    return made


def baselines_of(task: str) -> TaskBaselines[Any, Any, Any]:
    """The baselines of a task.

    Raises:
        ConfigError: there is no such task, or it has no baselines.
    """
    from itrec_dist import tasks

    baselines = tasks.data_of(task).baselines
    if baselines is None:
        raise ConfigError(f"the task {task} of these shards has no baselines to evaluate")
    return baselines


def _shards_in(arguments: Sequence[str]) -> Uri | Path | None:
    """The last `--shards` of the arguments."""
    shards = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        if flag == "--shards":
            shards = parse_place(value if equals else after)
    return shards


def parser_for(shards: Uri | Path) -> config.Parser:
    """The options with the baselines of the shards' task.

    Raises:
        ConfigError: the task has no baselines.
        ShardsError: the shards cannot be read.
    """
    from itrec_dist import tasks

    return _parser(config.Parser, [tasks.task_of(fetch.manifest_of(shards))])
