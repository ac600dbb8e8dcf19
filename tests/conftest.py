"""How the tests are run: their order, their processes, and where they write.

What they share is in `fixtures`, which the process that deals out the tests does not import.
"""

import contextlib
import functools
import gc
import os
import shutil
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Ray reads it once, when it is imported, and would put its workers behind all else on the machine.
os.environ.setdefault("RAY_worker_niceness", "0")
# Each is a process of its own that no test asks for: reports to Ray's makers, and a watch for nodes
# that announce their end.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
# Processes that are started ahead are of no use to workers with an environment of their own.
os.environ.setdefault("RAY_enable_worker_prestart", "0")
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

# Every example cuts windows anew; `make test-slow` takes many.
hypothesis.settings.register_profile("quick", max_examples=3)
hypothesis.settings.register_profile("thorough", max_examples=100)
hypothesis.settings.load_profile("quick")

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures where tests run, and put temporary folders into memory.

    There every file is synchronised to disk at once.
    """
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        pytest.register_assert_rewrite("tests.fixtures")
        config.pluginmanager.import_plugin("tests.fixtures")
    if config.option.basetemp is None and "PYTEST_DEBUG_TEMPROOT" not in os.environ:
        with contextlib.suppress(OSError):
            runs_programs = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
            if runs_programs and shutil.disk_usage(MEMORY).free >= ROOM:
                os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays anyway, which took a sixth of the suite's time.

    Modules and tests are a few million objects, and every full collection visits all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes of pytest, begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(_group(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal whole files to the processes of pytest, so that each file's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(config.rootpath / nodeid.partition("::")[0])

    config.option.loadscopereorder = False  # the order is that of the workers
    return ByGroup(config, log)


@functools.cache
def _group(path: Path) -> str:
    """What the tests of a file share with those of others: a Ray, a pair of processes, or nothing.

    pytest-xdist's own groups come from marks, which it does not see under pytest 9.2.
    """
    content = path.read_text(encoding="utf-8")
    if "mark.ray" in content:
        return "ray"
    return "pair" if "pair.run(" in content else str(path)


def _turn(group: str) -> int:
    """Ray's tests first, then the others that start processes, then the quick ones."""
    return 0 if group == "ray" else 1 if "integration" in group or group == "pair" else 2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the stored losses and surfaces anew instead of comparing with them",
    )
