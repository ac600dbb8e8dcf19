"""`itrec baselines`: judge the non-neural baselines on the windows that models are judged on.

Those of the task that the shards were windowed for. Each becomes a run directory of its own, so
that reports treat it as any other run.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.cli.evaluate import add_choice, choice_from
from itrec_dist.data import manifest
from itrec_dist.errors import ConfigError, ShardsError
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.baselines import TaskBaselines


class _Parser(config.Parser):
    """A parser for the baselines of all our tasks, which gives way to that of the shards' task."""

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse with the settings of the baselines of the shards' task, if they can be read."""
        from itrec_dist import tasks

        if (shards := _shards_in(arguments)) is not None:
            try:
                task = tasks.task_of(manifest.read(shards))
            except ShardsError:  # refused when the command runs
                return super().parse(arguments)
            return _parser(config.Parser, [task]).parse(arguments)
        return super().parse(arguments)


def parser() -> config.Parser:
    """Options of `itrec baselines`."""
    from itrec_dist import tasks

    return _parser(_Parser, tasks.WITH_WINDOWS)


def _parser(kind: type[config.Parser], of_tasks: Sequence[str]) -> config.Parser:
    registries = [baselines_of(task).registry for task in of_tasks]
    made = kind(
        "itrec baselines",
        "Judge the non-neural baselines on the windows of a shards folder. Each is fitted on the "
        "training windows and written as a run directory of its own, which `itrec report` reads.",
    )
    made.add_argument(
        "--shards", type=Path, required=True, help="Folder that `itrec window` wrote."
    )
    made.add_argument("--out", type=Path, required=True, help="Folder for OUT/NAME per baseline.")
    known = [
        f"{task}: {', '.join(registry)}"
        for task, registry in zip(of_tasks, registries, strict=True)
    ]
    made.add_argument(
        "--only",
        type=str,
        default="",
        help="The baselines to judge, separated by commas; without it all of the task of the "
        f"shards ({'; '.join(known)}).",
    )
    add_choice(made, "null takes [5, 10, 20] and no more metrics")
    made.add_argument(
        "--overwrite", action="store_true", help="Replace the run directories that are there."
    )
    for registry in registries:
        for name, settings in registry.items():
            made.add_class_arguments(settings, name)
    return made


def baselines_of(task: str) -> TaskBaselines[Any, Any, Any]:
    """The baselines of a task.

    Raises:
        ConfigError: there is no such task, or it has none.
    """
    from itrec_dist import tasks

    found = tasks.data_of(task).baselines
    if found is None:
        raise ConfigError(f"the task {task} of these shards has no baselines to judge")
    return found


def _shards_in(arguments: Sequence[str]) -> Path | None:
    """The folder that the arguments name last."""
    found = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        if flag == "--shards":
            found = Path(value if equals else after)
    return found


def run(parsed: Any) -> int:
    """Fit, judge, write and print."""
    from itrec_dist import tasks
    from itrec_dist.evaluation.baselines import judge_all
    from itrec_dist.report.terminal import print_comparison

    baselines = baselines_of(tasks.task_of(manifest.read(parsed.shards)))
    chosen = _chosen(parsed, baselines)
    judgements = judge_all(
        baselines, parsed.shards, parsed.out, chosen,
        overwrite=parsed.overwrite, choice=choice_from(parsed, MetricChoice()),
    )  # fmt: skip
    print_comparison(judgements)
    print(f"\nWritten to {parsed.out}: {', '.join(chosen)}")
    if missing := baselines.missing():
        print(f"Not installed: {', '.join(missing)} (pip install 'itrec-dist[references]')")
    return 0


def _chosen(parsed: Any, baselines: TaskBaselines[Any, Any, Any]) -> dict[str, Any]:
    """The settings of the baselines that are asked for, or of the usual ones."""
    names = [name.strip() for name in parsed.only.split(",") if name.strip()]
    if not names and parsed.only:
        raise ConfigError(f"--only names no baseline; there are: {', '.join(baselines.registry)}")
    found = {}
    for name in dict.fromkeys(names or baselines.installed()):
        settings = baselines.registry[name]
        found[name] = parsed[name] if name in parsed else settings()
    return found
