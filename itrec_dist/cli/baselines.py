"""`itrec baselines`: evaluate the non-neural baselines of the shards' task.

They are evaluated on the same windows or histories as models. Each is written as a run directory of
its own, so that reports treat it like any other run.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.cli.evaluate import add_choice, choice_from
from itrec_dist.data import manifest
from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import ConfigError, ShardsError
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.baselines import TaskBaselines


class _BaselineParser(config.Parser):
    """Lists the baselines of all built-in tasks; switches to the shards' task once known."""

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse with the baseline settings of the shards' task, if the shards can be read."""
        from itrec_dist import tasks

        if (shards := _shards_in(arguments)) is not None:
            try:
                task = tasks.task_of(manifest.read(shards))
            except ShardsError:  # reported when the command runs
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


def _shards_in(arguments: Sequence[str]) -> Path | None:
    """The last `--shards` of the arguments."""
    shards = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        if flag == "--shards":
            shards = Path(value if equals else after)
    return shards


def run(parsed: Any) -> int:
    """Fit, evaluate, write and print."""
    from itrec_dist import tasks
    from itrec_dist.evaluation.baselines import judge_all
    from itrec_dist.metrics import targets
    from itrec_dist.reports.terminal import print_comparison

    data = manifest.read(parsed.shards)
    baselines = baselines_of(tasks.task_of(data))
    chosen = _chosen(parsed, baselines, data)
    judgements = judge_all(
        baselines, parsed.shards, parsed.out, chosen,
        overwrite=parsed.overwrite, choice=choice_from(parsed, MetricChoice()),
    )  # fmt: skip
    print_comparison(judgements)
    print(f"\nWritten to {parsed.out}: {', '.join(chosen)}")
    for split, judgement in next(iter(judgements.values())).items():
        if text := targets.warning(split, judgement.targets, "--seen"):
            print(f"warning: {text}")
    missing = baselines.missing()
    suiting = [*baselines.default(data), *missing]
    if not parsed.only and (left := [n for n in baselines.registry if n not in suiting]):
        print(f"Left out unless named, or unsuited to these shards: {', '.join(left)}")
    if missing:
        print(f"Not installed: {', '.join(missing)} (pip install 'itrec-dist[references]')")
    return 0


def _chosen(parsed: Any, baselines: TaskBaselines[Any, Any, Any], data: Manifest) -> dict[str, Any]:
    """The settings of the chosen baselines, or of the default ones."""
    names = [name.strip() for name in parsed.only.split(",") if name.strip()]
    if not names and parsed.only:
        raise ConfigError(f"--only names no baseline; there are: {', '.join(baselines.registry)}")
    chosen = {}
    for name in dict.fromkeys(names or baselines.default(data)):
        settings = baselines.registry[name]
        chosen[name] = parsed[name] if name in parsed else settings()
    return chosen
