"""Every test that `make test` leaves out is listed with its reason."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def slow_tests():
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "slow" in text else ():
            marks = getattr(node, "decorator_list", ())
            if any(re.search(r"mark\.slow|slow_after\(", ast.unparse(mark)) for mark in marks):
                yield node.name.removeprefix("test_")


def test_what_is_slow_stands_in_the_list_and_nothing_else():
    rows = (TESTS / "SLOW.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1] for line in rows if line.startswith("| `")]
    # A cell names the file and then its tests, perhaps with the case in brackets.
    names = [re.findall(r"`([\w/]+)(?:\[[^]]*\])?`", cell)[1:] for cell in cells]
    listed = [name for found in names for name in found]
    assert sorted(listed) == sorted(slow_tests())
    assert all(line.count(" | ") == 3 for line in rows if line.startswith("| `")), "a reason is out"
