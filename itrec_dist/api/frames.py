"""Tables in the kind of data frame that a user works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def like(table: pa.Table, given: Any) -> Any:
    """An Arrow table as the kind of `given`: pandas and Polars as theirs, all else as Arrow."""
    from itrec_dist.data.doors import memory

    library = memory.library_of(given) if memory.is_table(given) else ""
    if library == "pandas":
        return table.to_pandas()
    if library == "polars":
        import polars

        return polars.from_arrow(table)
    return table
