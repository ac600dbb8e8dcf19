"""`itrec baselines`: judge the non-neural baselines on the windows that models are judged on.

Those of next items, or on shards of `itrec window ratings` those of rating prediction. Each becomes
a run directory of its own, so that reports treat it as any other run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.cli.evaluate import add_choice, choice_from
from itrec_dist.data import manifest, schema
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation.baselines import judge_all
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.next_items import baselines
from itrec_dist.tasks.ratings import baselines as rating_baselines


def parser() -> config.Parser:
    """Options of `itrec baselines`."""
    made = config.Parser(
        "itrec baselines",
        "Judge the non-neural baselines on the windows of a shards folder. Each is fitted on the "
        "training windows and written as a run directory of its own, which `itrec report` reads.",
    )
    made.add_argument(
        "--shards", type=Path, required=True, help="Folder that `itrec window` wrote."
    )
    made.add_argument("--out", type=Path, required=True, help="Folder for OUT/NAME per baseline.")
    made.add_argument(
        "--only",
        type=str,
        default="",
        help="The baselines to judge, separated by commas; without it all that fit the shards: "
        f"{', '.join(baselines.BASELINES)}, or of ratings {', '.join(rating_baselines.BASELINES)}.",
    )
    add_choice(made, "null takes [5, 10, 20] and no more metrics")
    made.add_argument(
        "--overwrite", action="store_true", help="Replace the run directories that are there."
    )
    for name in baselines.BASELINES:
        made.add_class_arguments(baselines.BASELINES[name], name)
    for name in rating_baselines.BASELINES:
        made.add_class_arguments(rating_baselines.BASELINES[name], name)
    return made


def run(parsed: Any) -> int:
    """Fit, judge, write and print."""
    from itrec_dist.report.terminal import print_comparison

    choice = choice_from(parsed, MetricChoice())
    missing: list[str] = []
    if manifest.read(parsed.shards).protocol in schema.RATING_PROTOCOLS:
        from itrec_dist.evaluation import rating_baselines as rating_baseline_evaluation

        chosen = _chosen(parsed, rating_baselines, list(rating_baselines.installed()))
        judged = rating_baseline_evaluation.judge_all(
            parsed.shards, parsed.out, chosen, overwrite=parsed.overwrite, choice=choice
        )
        missing = list(rating_baselines.missing())
    else:
        chosen = _chosen(parsed, baselines, list(baselines.BASELINES))
        judged = judge_all(
            parsed.shards, parsed.out, chosen, overwrite=parsed.overwrite, choice=choice
        )
    print_comparison(judged)
    print(f"\nWritten to {parsed.out}: {', '.join(chosen)}")
    if missing:
        print(f"Not installed: {', '.join(missing)} (pip install 'itrec-dist[references]')")
    return 0


def _chosen(parsed: Any, folder: Any, usual: Sequence[str]) -> dict[str, Any]:
    """The settings of the baselines in `folder` that are asked for, or of the usual ones."""
    names = [name.strip() for name in parsed.only.split(",") if name.strip()]
    if not names and parsed.only:
        raise ConfigError(f"--only names no baseline; there are: {', '.join(folder.BASELINES)}")
    found = {}
    for name in dict.fromkeys(names or usual):
        settings = folder.BASELINES[name]
        found[name] = parsed[name] if name in parsed else settings()
    return found
