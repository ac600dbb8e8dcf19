"""A Ray that does not start is one sentence, whatever Ray raises."""

import os
import subprocess
import sys

import pytest

JOINS = """
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.launch.cluster import join
try:
    join(None)
except EnvironmentProblem as problem:
    print(type(problem.__cause__).__name__, problem, sep=": ")
"""


@pytest.mark.slow
def test_a_ray_that_cannot_start_is_one_sentence_with_its_cause(tmp_path):
    """In a process of its own: Ray cannot make a socket in a folder whose name is too long."""
    environment = {n: v for n, v in os.environ.items() if n != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", JOINS], capture_output=True, text=True, timeout=240, check=False,
        env=environment | {"RAY_TMPDIR": str(tmp_path / ("long" * 25))},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.count("\n")) == (0, 1), ended.stderr
    told = ended.stdout.strip()
    assert told.startswith("OSError: Ray could not be started: ")
    assert "AF_UNIX path length cannot exceed 107 bytes" in told
    assert told.endswith("; or train with --local")
