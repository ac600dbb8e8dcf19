"""`itrec data make`: generate a data set with planted structure."""

from typing import Any

from itrec_dist.options.data_make import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Generate, then print what was written and the next command."""
    from itrec_dist.api.datasets import generated

    made = generated(parsed)
    print(
        f"wrote {made.ratings:,} generated ratings of {made.movies:,} movies by {made.users:,} "
        f"users to {parsed.out} (synthetic data, not MovieLens)"
    )
    given = f"--source ml-1m --input {parsed.out}"
    if parsed.format == "parquet":
        given = f"--source table --input {parsed.out}/ratings.parquet --columns.rating rating"
    print(f"next: itrec window {given} --out SHARDS")
    return 0
