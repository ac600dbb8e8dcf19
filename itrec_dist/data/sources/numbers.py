"""Numeric columns of users and items as features: each number becomes the range that it lies in."""

from itrec_dist.data.database import Database
from itrec_dist.errors import DataError

BINS = 10
"""Ranges of a numeric feature at most, each with about as many users or items."""


def to_ranges(
    database: Database, user_numbers: tuple[str, ...], item_numbers: tuple[str, ...]
) -> None:
    """Replace the numbers of these features in `user_features` and `item_features`.

    Raises:
        DataError: a value is no number.
    """
    if not user_numbers and not item_numbers:
        return
    database.table(
        "number_bins", "staging/table/number_bins",
        user_numbers=list(user_numbers), item_numbers=list(item_numbers), bins=BINS,
    )  # fmt: skip
    for row in database.rows("checks/unreadable_numbers"):
        kind = row["kind"]
        raise DataError(
            f"column {row['feature']} of --{kind}s holds {row['feature_value']!r}, which is no "
            f"number: correct it, leave it empty, or name the column in --{kind}_features"
        )
    for kind, names in (("user", user_numbers), ("item", item_numbers)):
        if names:
            database.table(f"{kind}_features", f"staging/table/binned_{kind}_features")
    database.drop("number_bins")
