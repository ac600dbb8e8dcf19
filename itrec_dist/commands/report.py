"""`itrec report`: one HTML page over runs."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser


def parser() -> Parser:
    """The options of `itrec report`."""
    parser = Parser(
        "itrec report",
        "Write one self-contained HTML page over runs: the answer first, then tables with the "
        "spread over seeds, curves, sampled users, the leakage audit and the configuration.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="Run directories, or folders that hold some at any depth; or one sweep directory.",
    )
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        metavar="FILE.html",
        help="Where to write; without it report.html in RUN, or in the folder that holds them all.",
    )
    parser.add_argument("--title", type=str | None, default=None, help="The page's title.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier report.")
    return parser


def run(parsed: Any) -> int:
    """Write the page and print its path."""
    from itrec_dist import report

    if len(parsed.runs) == 1 and report.is_sweep(parsed.runs[0]):
        (sweep,) = parsed.runs
        print(report.write_sweep(sweep, parsed.out, parsed.title, overwrite=parsed.overwrite))
        return 0
    print(report.write(parsed.runs, parsed.out, parsed.title, overwrite=parsed.overwrite))
    return 0
