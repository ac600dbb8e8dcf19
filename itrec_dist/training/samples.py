"""Describes a few users' windows: input items, actual and predicted next items."""

from typing import Any

import numpy as np
import numpy.typing as npt

from itrec_dist.data.schema import PAD
from itrec_dist.data.shards.arrays import Items, Users, Windows

_NUM_SHOWN = 20  # inputs that are listed, the newest ones, and targets, the first ones


def describe(
    windows: Windows, top_BN: npt.NDArray[np.int64], items: Items, users: Users
) -> list[dict[str, Any]]:
    """Per window: the user, the input items, the actual next items and the predicted ones.

    Args:
        windows: the windows, B of them.
        top_BN: the predicted item ids, best first.
        items: gives titles, years and genres.
        users: gives the users' ids in the source.
    """
    described = []
    for row in range(len(windows)):
        watched = [i for i in windows.item_ids[row].tolist() if i != PAD]
        actual = [i for i in windows.target_ids[row].tolist() if i != PAD]
        predicted = [i for i in top_BN[row].tolist() if i != PAD]
        described.append(
            {
                "user": users.source_ids[windows.user_ids[row] - 1],
                "watched": [
                    _item(items, i) | {"rating": float(rating) or None}
                    for i, rating in zip(
                        watched[-_NUM_SHOWN:],
                        windows.ratings[row][windows.item_ids[row] != PAD][-_NUM_SHOWN:],
                        strict=True,
                    )
                ],
                "actual": [_item(items, i) for i in actual[:_NUM_SHOWN]],
                "predicted": [
                    _item(items, i) | {"is_hit": i in actual, "is_seen": i in watched}
                    for i in predicted
                ],
            }
        )
    return described


def _item(items: Items, item_id: int) -> dict[str, Any]:
    index = item_id - 1
    return {
        "title": items.titles[index] or items.source_ids[index],
        "year": items.years[index],
        "genres": items.genres[index] or [],
    }
