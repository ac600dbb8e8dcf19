"""Cases of a test, of which the quick suite runs some."""

from collections.abc import Sequence
from typing import Any

import pytest


def slow_after(number: int, cases: Sequence[Any]) -> list[Any]:
    """Cases for `pytest.mark.parametrize`: after the first `number`, they wait for `-m slow`."""
    return [
        *cases[:number],
        *(
            pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
            for case in cases[number:]
        ),
    ]
