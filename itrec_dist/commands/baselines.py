"""`itrec baselines`: judge the non-neural baselines on the windows that models are judged on.

Each becomes a run directory of its own, so that reports treat it as any other run.
"""

from pathlib import Path
from typing import Any

from itrec_dist import baselines, config
from itrec_dist.baseline_runs import judge_all
from itrec_dist.errors import ConfigError

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
        default=",".join(baselines.names()),
        help="The baselines to judge, separated by commas.",
    )
    made.add_argument(
        "--overwrite", action="store_true", help="Replace the run directories that are there."
    )
    for name in baselines.names():
        made.add_class_arguments(baselines.find(name), name)
    return made


def run(parsed: Any) -> int:
    """Fit, judge, write and print."""
    chosen = {
        name: parsed[name] if name in parsed else baselines.find(name)()
        for name in _names(parsed.only)
    }
    judgements = judge_all(parsed.shards, parsed.out, chosen, overwrite=parsed.overwrite)
    print(_table(judgements))
    print(f"\nWritten to {parsed.out}: {', '.join(chosen)}")
    return 0


def _names(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--only names no baseline; there are: {', '.join(baselines.names())}")
    for name in names:
        baselines.find(name)
    return list(dict.fromkeys(names))


def _table(judgements: dict[str, dict[str, Any]]) -> str:
    """The figures of every baseline, split and ranking, one line each."""
    from itrec_dist.metrics import PAPER_NAMES

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
