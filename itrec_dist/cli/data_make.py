"""`itrec data make`: generate a data set with planted structure."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser, pick
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "itrec data make",
        "Generate users, movies and ratings in the file format of MovieLens-1M. The data is "
        "synthetic, with planted structure that sequential models can learn and counting cannot.",
    )
    made.add_argument("--out", type=Path, required=True, help="Folder to write; must not exist.")
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace the folder if an earlier run of this command made it.",
    )
    made.add_class_arguments(SyntheticConfig)
    return made


def run(parsed: Any) -> int:
    """Generate, then print what was written and the next command."""
    made = generate(pick(SyntheticConfig, parsed), parsed.out, overwrite=parsed.overwrite)
    print(
        f"wrote {made.ratings:,} generated ratings of {made.movies:,} movies by {made.users:,} "
        f"users to {parsed.out} (synthetic data, not MovieLens)"
    )
    print(f"next: itrec window --source ml-1m --input {parsed.out} --out SHARDS")
    return 0
