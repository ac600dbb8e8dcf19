"""What the tests of engines share, on two processes of torch and on workers of Ray."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import engine_runs
from tests.engine_runs import Alone


@pytest.fixture(scope="module")
def engine_windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards that every engine trains on."""
    return engine_runs.make_data(tmp_path_factory.mktemp("agree") / "shards")


@pytest.fixture(scope="module")
def alone(engine_windows: Path) -> Iterator[Alone]:
    """The plain engine, which all others are compared with."""
    threads = torch.get_num_threads()
    yield Alone(engine_windows)
    torch.set_num_threads(threads)
