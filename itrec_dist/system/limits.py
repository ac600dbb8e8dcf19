"""The memory and cores that this process may use, including container limits.

Reads /proc and /sys on Linux; on other systems some answers are None.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def memory() -> tuple[int | None, int | None]:
    """Total and available memory in bytes; None where the system does not report it."""
    total = available = None
    with contextlib.suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, KeyError, ValueError):
        available = _fields(Path("/proc/meminfo"))["MemAvailable:"] * 1024
    for limit, used in _memory_limits():
        total = min(total or limit, limit)
        available = min(available or limit, max(limit - used, 0))
    return total, available


def cores() -> float:
    """Cores that this process may use, fractional under a container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    allowed: float = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    for folder in _cgroup_folders():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            if quota != "max":
                allowed = min(allowed, int(quota) / int(period))
    return allowed


def whole_cores() -> int:
    """Whole cores that this process may use, at least 1; to be shared by threads and processes."""
    return max(1, int(cores()))


def _memory_limits(root: Path | None = None) -> Iterator[tuple[int, int]]:
    """(limit, usage without reclaimable page cache) of every enclosing cgroup."""
    for folder in _cgroup_folders(root):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            with contextlib.suppress(OSError, ValueError):  # "max" is not a number: no limit
                bound = int((folder / limit).read_text(encoding="ascii"))
                in_use = int((folder / used).read_text(encoding="ascii"))
                reclaimable = _fields(folder / "memory.stat").get("inactive_file", 0)
                if bound < 2**60:  # cgroup v1 writes "no limit" as a number near 2**63
                    yield bound, in_use - reclaimable


def _cgroup_folders(root: Path | None = None) -> Iterator[Path]:
    """The folders that may hold a limit on this process, innermost first, v2 and v1."""
    root = root or CGROUPS
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                inner = root / path.lstrip("/")
                yield from (f for f in (inner, *inner.parents) if f.is_relative_to(root))
    yield from (root, root / "memory")


def _fields(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {words[0]: int(words[1]) for words in lines}
