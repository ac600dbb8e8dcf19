"""The time of a run from its first steps, however few there are."""

import pytest

from itrec_dist.sweeps import estimate

FIRST = [(1, 9.0), (2, 12.0)]  # slower than what follows


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([(1, 9.0)], 5.0),
        (FIRST, 3.0),
        (FIRST + [(step, 12.0 + 0.5 * (step - 2)) for step in range(3, 40)], 0.5),
    ],
    ids=["one step", "two steps", "many steps"],
)
def test_a_step_takes_what_the_measured_ones_took(marks, expected):
    assert estimate.seconds_per_step(marks, setup=4.0) == pytest.approx(expected)
