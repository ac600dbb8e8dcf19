"""Intervals and the paired test, against hand-computed values and a slow twin."""

import numpy as np
import pytest

from itrec_dist.sweep.comparison import interval, paired


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 4.0])
    # mean 7/3, standard deviation sqrt(7/3), t(0.975, 2) = 4.303
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(4.303 * (7 / 3) ** 0.5 / 3**0.5)
    assert interval([0.5]).half is None


def slow(first, second, users, resamples, rng):
    """The same bootstrap, window by window."""
    names = sorted(set(users))
    windows = {u: [i for i, other in enumerate(users) if other == u] for u in names}
    found = []
    for _ in range(resamples):
        chosen = [i for u in rng.choice(names, len(names)) for i in windows[u]]
        sides = [
            np.mean([one[chosen].mean() for one in (side[s] for s in rng.integers(len(side),
                    size=len(side)))]) for side in (first, second)
        ]  # fmt: skip
        found.append(sides[0] - sides[1])
    return np.quantile(found, (0.025, 0.975))


def made(rng, shift, users, seeds=3):
    taste = rng.normal(0, 0.3, users.max() + 1)[users]
    return [np.clip(0.4 + shift + taste + rng.normal(0, 0.02), 0, 1) for _ in range(seeds)]


def test_it_agrees_with_the_slow_twin():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    first = [one + rng.normal(0, 0.2, len(users)) for one in made(rng, 0.03, users)]
    second = [one + rng.normal(0, 0.2, len(users)) for one in made(rng, 0.0, users, seeds=2)]
    found = paired(first, second, users, resamples=4000)
    low, high = slow(first, second, users, 2000, rng)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert (found.num_windows, found.num_users) == (len(users), 40)


def test_pairing_sees_what_the_spread_between_users_would_hide():
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(200), 3)
    taste = rng.normal(0, 0.3, 200)[users]
    second = [taste + rng.normal(0, 0.01, 600) for _ in range(3)]
    first = [one + 0.02 for one in second]
    found = paired(first, second, users)
    assert found.is_distinguishable
    assert found.p < 0.01
    assert found.low < 0.02 < found.high
    same = paired(second, [one + rng.normal(0, 0.01, 600) for one in second], users)
    assert not same.is_distinguishable
    assert same.p > 0.05


def test_windows_of_one_user_do_not_count_as_many():
    rng = np.random.default_rng(2)
    by_user = rng.normal(0.02, 0.1, 12)
    alone = paired([by_user], [np.zeros(12)], np.arange(12))
    copied = paired([np.repeat(by_user, 50)], [np.zeros(600)], np.repeat(np.arange(12), 50))
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_disagreeing_seeds_widen_the_interval():
    users = np.arange(500)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.05, 500)
    calm = paired([noise + 0.01] * 3, [noise] * 3, users)
    wild = paired([noise + s for s in (-0.04, 0.01, 0.06)], [noise] * 3, users)
    assert calm.is_distinguishable
    assert not wild.is_distinguishable
