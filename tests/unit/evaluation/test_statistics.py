"""Intervals and the paired test: tabled quantiles, hand-computed cases, and how often they err."""

import numpy as np
import pytest

from itrec_dist.evaluation.statistics import holm, interval, paired, quantile


@pytest.mark.parametrize(
    ("freedom", "tabled"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (30, 2.042), (120, 1.980), (10**5, 1.960)],
)
def test_quantiles_are_those_of_the_tables(freedom, tabled):
    assert quantile(freedom) == pytest.approx(tabled, abs=6e-4)


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 4.0])
    # mean 7/3, standard deviation sqrt(7/3), t(0.975, 2) = 4.303
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(4.3027 * (7 / 3) ** 0.5 / 3**0.5, rel=1e-4)
    assert interval([0.5]).half is None


def test_a_case_by_hand():
    """Gains 0, 1, 2, 3 of the users a, a, b, c; one seed each: mean 1.5, sums -2, .5, 1.5."""
    first = [np.array([0.0, 1.0, 2.0, 3.0])]
    found = paired(first, [np.zeros(4)], np.array([7, 7, 8, 9]))
    variance = (4 + 0.25 + 2.25) * 3 / 2 / 16
    assert found.difference == 1.5
    assert found.high - found.low == pytest.approx(2 * 4.3027 * variance**0.5, rel=1e-4)
    assert (found.num_windows, found.num_users, found.knows_seeds) == (4, 3, False)
    # t = 1.5 / sqrt(variance) = 1.922 on two degrees of freedom; its p in closed form
    t = 1.5 / variance**0.5
    assert found.p == pytest.approx(1 - t / (2 + t * t) ** 0.5, rel=1e-12)


def test_seeds_alone_by_hand():
    """Users who do not differ: Welch's interval on the seeds' means."""
    users = np.arange(5)
    first = [np.full(5, value) for value in (1.0, 2.0, 3.0)]
    second = [np.full(5, value) for value in (0.0, 0.5)]
    found = paired(first, second, users)
    one, two = 1.0 / 3, 0.125 / 2
    freedom = (one + two) ** 2 / (one**2 / 2 + two**2 / 1)
    assert found.difference == pytest.approx(1.75)
    half = quantile(freedom) * (one + two) ** 0.5
    assert found.high - found.difference == pytest.approx(half, rel=1e-6)
    assert found.knows_seeds


def made(rng, shift, num_users, *, seeds=3):
    """Windows of users who differ, under models whose seeds differ."""
    users = np.repeat(np.arange(num_users), rng.integers(1, 5, num_users))
    ease = rng.normal(0, 0.3, num_users)[users]
    liking = [rng.normal(0, 0.1, num_users)[users] for _ in range(2)]
    sides = [
        [ease + like + up + rng.normal(0, 0.02) + rng.normal(0, 0.1, len(users))
         for _ in range(seeds)]
        for like, up in zip(liking, (shift, 0.0), strict=True)
    ]  # fmt: skip
    return *sides, users


def test_configurations_that_do_not_differ_are_told_apart_one_time_in_twenty():
    """With three seeds each: a bootstrap over so few would err two or three times as often."""
    rng = np.random.default_rng(0)
    errors = sum(paired(*made(rng, 0.0, 60)).is_distinguishable for _ in range(600))
    assert 0.02 < errors / 600 < 0.08


def test_a_real_difference_is_found():
    rng = np.random.default_rng(1)
    found = paired(*made(rng, 0.2, 200))
    assert found.is_distinguishable
    assert found.p < 0.01
    assert found.low < 0.2 < found.high


def test_pairing_sees_what_the_spread_between_users_would_hide():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(200), 3)
    second = [rng.normal(0, 0.3, 200)[users]] * 3
    first = [one + 0.02 + rng.normal(0, 0.01, 600) for one in second]
    found = paired(first, second, users)
    assert found.is_distinguishable
    spread = np.mean(second, axis=0).std() / 600**0.5
    assert found.high - found.low < spread


def test_windows_of_one_user_do_not_count_as_many():
    by_user = np.random.default_rng(3).normal(0.02, 0.1, 12)
    alone = paired([by_user], [np.zeros(12)], np.arange(12))
    copied = paired([np.repeat(by_user, 50)], [np.zeros(600)], np.repeat(np.arange(12), 50))
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low)


def test_equal_figures_are_not_told_apart():
    same = [np.array([0.2, 0.4, 0.0])] * 2
    found = paired(same, same, np.arange(3))
    assert (found.difference, found.p, found.is_distinguishable) == (0.0, 1.0, False)


def test_users_who_gain_and_lose_are_counted_by_their_mean():
    """User 1 gains and loses as much, 2 gains, 3 loses; .1 + .2 and .3 are the same."""
    first = [np.array([1.0, 0.0, 0.5, 0.0, 0.1]), np.array([1.0, 0.0, 0.5, 0.0, 0.2])]
    second = [np.array([0.0, 1.0, 0.0, 0.5, 0.3]), np.array([0.0, 1.0, 0.0, 0.5, 0.0])]
    found = paired(first, second, np.array([1, 1, 2, 3, 4]))
    assert (found.num_better, found.num_worse, found.num_equal) == (1, 1, 2)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
