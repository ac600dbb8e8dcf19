"""`itrec window`: ratings to windows."""

import time
from pathlib import Path
from typing import Any

from itrec_dist import config, schema


def parser() -> config.Parser:
    """Source, input, place of the output, and every field of WindowConfig."""
    from itrec_dist.staging import FORMATS
    from itrec_dist.table_source import TableConfig
    from itrec_dist.windowing import WindowConfig

    parser = config.Parser(
        "itrec window",
        "Cut ratings into windows of inputs and targets: Parquet shards, item and user tables, "
        "a manifest and a leakage audit. The defaults are the paper's settings.",
    )
    parser.add_config_file()
    parser.add_argument("--source", type=str, required=True, help=f"{', '.join(FORMATS)} or table")
    parser.add_argument("--input", type=Path, required=True, help="folder or file of ratings")
    parser.add_argument("--out", type=Path, required=True, help="shards folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out if it holds earlier shards"
    )
    parser.add_class_arguments(WindowConfig)
    parser.add_class_arguments(TableConfig)
    return parser


def run(parsed: Any) -> int:
    """Window, then print what was kept, what was written and what the split lets through."""
    from itrec_dist import audit, table_source, windowing

    started = time.perf_counter()
    settings = config.pick(windowing.WindowConfig, parsed)
    table = config.pick(table_source.TableConfig, parsed)
    manifest = windowing.window(
        parsed.source, parsed.input, parsed.out, settings, table, overwrite=parsed.overwrite
    )
    for step in manifest.steps:
        print(f"{step['ratings']:>14,} {step['users']:>10,} {step['items']:>8,}  {step['name']}")
    for split in schema.SPLITS:
        print(f"{split:<12} {manifest.num_windows(split):>10,} windows")
    print("\n".join(audit.lines(manifest.protocol, manifest.audit)))
    print(f"{parsed.out} in {time.perf_counter() - started:.1f} s")
    return 0
