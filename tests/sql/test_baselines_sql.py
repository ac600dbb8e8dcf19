import dataclasses
from collections import Counter

import numpy as np

from itrec_dist.data.database import Database
from tests.shards_factory import make_shards, random_windows


def rows(shards, described):
    files = [shards / f.name for f in described.splits["train"]]
    with Database(threads=2) as database:
        found = database.arrow("next_items/baselines/cooccurrence", files=files)
    return [tuple(row.values()) for row in found.to_pylist()]


def test_cooccurrence_of_given_windows(tmp_path):
    windows = dataclasses.replace(
        random_windows(3),
        item_ids=np.array([[0, 0, 1, 2], [2, 2, 2, 1], [0, 0, 0, 3]], np.int32),
        target_ids=np.array([[5, 6], [5, 5], [4, 0]], np.int32),
    )
    described = make_shards(tmp_path, {"train": windows})
    assert rows(tmp_path, described) == [
        (1, 5, 2),
        (1, 6, 1),
        (2, 5, 2),  # the repeats of the second window count once
        (2, 6, 1),
        (3, 4, 1),  # padding pairs with nothing
    ]


def test_cooccurrence_of_random_windows_is_a_plain_count(tmp_path):
    windows = random_windows(200, seed=3)
    described = make_shards(tmp_path, {"train": windows, "test": random_windows(50, first_id=200)})
    counted = Counter(
        (i, j)
        for inputs, targets in zip(
            windows.item_ids.tolist(), windows.target_ids.tolist(), strict=True
        )
        for i in set(inputs) - {0}
        for j in set(targets) - {0}
    )
    assert rows(tmp_path, described) == [(i, j, n) for (i, j), n in sorted(counted.items())]
