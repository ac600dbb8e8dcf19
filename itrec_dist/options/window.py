"""The options of `itrec window`.

They are the same for every task and source, plus the settings of the task's windows and of the
source.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from itrec_dist import config
from itrec_dist.data import sources
from itrec_dist.options import cluster
from itrec_dist.storage.uri import Uri


class _WindowParser(config.Parser):
    """A parser for one task and source; switches to others if the arguments name them."""

    def __init__(self, task: str, source: str, samples: str, description: str) -> None:
        super().__init__("itrec window", description)
        self._chosen = (task, source, samples)

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse with the settings of the task, source and samples that the arguments name.

        A first argument without dashes names a task too: `itrec window ratings`.

        Raises:
            ConfigError: see `config.Parser.parse`; or there is no such task or source.
        """
        if arguments and not arguments[0].startswith("-"):
            arguments = [f"--task={arguments[0]}", *arguments[1:]]
        names = ("task", "source", "samples")
        named = tuple(_last(arguments, n) or c for n, c in zip(names, self._chosen, strict=True))
        if named != self._chosen:
            return parser(*named).parse(arguments)
        return super().parse(arguments)


def parser(
    task: str | None = None, source: str = sources.WITH_SETTINGS, samples: str = "windows"
) -> config.Parser:
    """The command's options, with the settings of the task's samples and of the source.

    Raises:
        ConfigError: the task has no such samples.
    """
    from itrec_dist import tasks

    task = task or tasks.DEFAULT
    windows = tasks.data_of(task).of(samples)
    made = _WindowParser(task, source, samples, windows.description)
    made.add_config_file()
    made.add_argument(
        "--task",
        type=str,
        default=task,
        help=f"Task to window for: {', '.join(tasks.WITH_WINDOWS)}, a task of an installed "
        "package, or module:Class; it decides which other options there are",
    )
    made.add_argument(
        "--samples",
        type=str,
        default=samples,
        help="Kind of samples: windows of fixed length, or (next_items only) histories of any "
        "length; it decides which other options there are",
    )
    made.add_argument(
        "--source",
        type=str,
        required=True,
        help=f"Format of --input: {', '.join(sources.SOURCES)}, or one of your own as module:Class",
    )
    made.add_argument(
        "--input",
        type=Uri | Path,
        nargs="+",
        required=True,
        help="Folder or file of events; with --source table also several, a database, or URIs of "
        "s3, gs, abfs, hdfs, https",
    )
    made.add_argument(
        "--out", type=Uri | Path, required=True, help="Shards folder to write, or its URI"
    )
    made.add_argument(
        "--overwrite", action="store_true", help="Replace --out if it holds earlier shards"
    )
    made.add_argument(
        "--distributed",
        action="store_true",
        help="Cut buckets of users as tasks of a Ray cluster, which write the same shards as one "
        "process (next_items only)",
    )
    cluster.add_address(made)
    made.add_class_arguments(windows.settings)
    made.add_class_arguments(sources.settings_of(source))
    return made


def every_parser() -> list[config.Parser]:
    """A parser for each of our tasks and kinds of samples, with the settings of a table."""
    from itrec_dist import tasks

    named = sorted(tasks.WITH_WINDOWS, key=lambda task: task != tasks.DEFAULT)
    return [parser(task, samples=kind) for task in named for kind in tasks.data_of(task).kinds]


def _last(arguments: Sequence[str], setting: str) -> str | None:
    """The last value that an option or a recipe gives; unreadable recipes are reported later."""
    last = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        value = value if equals else after
        if flag == f"--{setting}":
            last = value
        elif flag == "--config":
            try:
                content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            if isinstance(content, dict) and isinstance(content.get(setting), str):
                last = content[setting]
    return last


def parser_for(settings: Mapping[str, Any]) -> config.Parser:
    """The options, with those of the task, source and samples that settings or their recipe name.

    Raises:
        ConfigError: there is no such task, source or kind of samples.
    """
    recipe = settings.get("config")
    words = [] if recipe is None else ["--config", str(recipe)]
    words += [
        f"--{name}={settings[name]}"
        for name in ("task", "source", "samples")
        if settings.get(name) is not None
    ]
    task, source, samples = (_last(words, name) for name in ("task", "source", "samples"))
    return parser(task, source or sources.WITH_SETTINGS, samples or "windows")
