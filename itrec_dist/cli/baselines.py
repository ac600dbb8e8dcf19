"""`itrec baselines`: judge the non-neural baselines on the windows that models are judged on.

Those of next items, or on shards of `itrec window ratings` those of rating prediction. Each becomes
a run directory of its own, so that reports treat it as any other run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.data import manifest, schema
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation.baselines import judge_all
from itrec_dist.tasks.next_items import baselines
from itrec_dist.tasks.ratings import baselines as rating_baselines

COLUMNS = ("precision@5", "hit_rate@5", "recall@10", "ndcg@10", "mrr@10", "coverage@10")


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
    if manifest.read(parsed.shards).protocol in schema.RATING_PROTOCOLS:
        from itrec_dist.evaluation import rating_baselines as rating_baseline_evaluation
        from itrec_dist.report.terminal import print_rating_baselines

        there = list(rating_baselines.installed())
        fitting = _chosen(parsed, rating_baselines, there)
        judged = rating_baseline_evaluation.judge_all(
            parsed.shards, parsed.out, fitting, overwrite=parsed.overwrite
        )
        print_rating_baselines(judged)
        print(f"\nWritten to {parsed.out}: {', '.join(fitting)}")
        if missing := rating_baselines.missing():
            print(f"Not installed: {', '.join(missing)} (pip install 'itrec-dist[references]')")
        return 0
    chosen = _chosen(parsed, baselines, list(baselines.BASELINES))
    judgements = judge_all(parsed.shards, parsed.out, chosen, overwrite=parsed.overwrite)
    print(_table(judgements))
    print(f"\nWritten to {parsed.out}: {', '.join(chosen)}")
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


def _table(judgements: dict[str, dict[str, Any]]) -> str:
    """The figures of every baseline, split and ranking, one line each."""
    from itrec_dist.metrics.ranking import PAPER_NAMES

    header = ["baseline", "split", "seen items", *COLUMNS]
    aliases = ["", "", "", *(f"({PAPER_NAMES[c]})" if c in PAPER_NAMES else "" for c in COLUMNS)]
    rows = [header, aliases]
    for name, splits in judgements.items():
        for split, judgement in splits.items():
            for ranking, label in (("unmasked", "kept"), ("masked", "left out")):
                figures = [f"{judgement[ranking][column]:.4f}" for column in COLUMNS]
                rows.append([name, split, label, *figures])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
