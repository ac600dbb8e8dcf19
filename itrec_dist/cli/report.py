"""`itrec report`: one HTML page on a set of runs."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    parser = Parser(
        "itrec report",
        "Write one self-contained HTML page on a set of runs: the answer first, then tables with "
        "the spread over seeds, curves, sampled users, the leakage audit and the configuration.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Uri | Path,
        metavar="RUN",
        help="Run directories, or folders or URIs that contain them at any depth; or one sweep "
        "directory, or its URI.",
    )
    parser.add_argument(
        "--out",
        type=Uri | Path | None,
        default=None,
        metavar="FILE.html",
        help="File to write, or its URI; default: report.html in the sweep or RUN, or in "
        "the folder that contains all runs.",
    )
    parser.add_argument("--title", type=str | None, default=None, help="The page's title.")
    parser.add_argument(
        "--against",
        type=Uri | Path | None,
        default=None,
        metavar="RUN",
        help="A run or its URI, of a model or of a baseline, that the others are compared with by "
        "paired tests on the same users of the test split.",
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier report.")
    return parser


def run(parsed: Any) -> int:
    """Write the page and print its path."""
    from itrec_dist.api.reporting import reported

    page = reported(
        parsed.runs, parsed.out, parsed.title, against=parsed.against, overwrite=parsed.overwrite
    )
    print(page)
    return 0
