"""`itrec window ratings`: ratings to windows whose target is a rating."""

import time
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.commands import window


def parser() -> config.Parser:
    """Source, input, place of the output, and every field of RatingWindowConfig."""
    from itrec_dist.rating_windows import RatingWindowConfig
    from itrec_dist.staging import FORMATS
    from itrec_dist.table_source import TableConfig

    parser = config.Parser(
        "itrec window ratings",
        "Hold out ratings to be predicted, and write each rating with the training ratings that "
        "its user gave before: Parquet shards, item and user tables, a manifest and a leakage "
        "audit. Rating models are trained and compared on these.",
    )
    parser.add_config_file()
    parser.add_argument("--source", type=str, required=True, help=f"{', '.join(FORMATS)} or table")
    parser.add_argument("--input", type=Path, required=True, help="folder or file of ratings")
    parser.add_argument("--out", type=Path, required=True, help="shards folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out if it holds earlier shards"
    )
    parser.add_class_arguments(RatingWindowConfig)
    parser.add_class_arguments(TableConfig)
    return parser


def run(parsed: Any) -> int:
    """Window, then print what was read, what was written and what the split lets through."""
    from itrec_dist import rating_audit, rating_windows, table_source

    started = time.perf_counter()
    settings = config.pick(rating_windows.RatingWindowConfig, parsed)
    table = config.pick(table_source.TableConfig, parsed)
    print(f"windowing {parsed.input} ({parsed.source}, {settings.protocol})", flush=True)
    manifest = rating_windows.window_ratings(
        parsed.source, parsed.input, parsed.out, settings, table, overwrite=parsed.overwrite
    )
    lines = [
        *window.steps(manifest),
        "",
        *window.splits(manifest),
        "",
        *rating_audit.lines(manifest),
    ]
    print("\n".join([*lines, "", *window.warnings(manifest)]))
    print(f"wrote {parsed.out} in {time.perf_counter() - started:.1f} s")
    return 0
