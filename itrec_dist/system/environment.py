"""Records versions, commit, hardware, command and seed of a run, for `environment.json`.

Detection never fails: what is unknown is null. Host names and user names are not recorded.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from itrec_dist import __version__
from itrec_dist.storage import uri
from itrec_dist.system import limits

PACKAGES = ("torch", "ray", "deepspeed", "duckdb", "pyarrow", "numpy", "optuna")


def record(seed: int | None) -> dict[str, Any]:
    """Describe this process and its machine as plain values; `started` is the time of the call."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [uri.shown(argument) for argument in sys.argv],
        "seed": seed,
        "itrec_dist": __version__,
        "git": _git(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": limits.cores(),
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path) -> dict[str, Any] | None:
    """The commit of the checkout that the package runs from; None for an installed package."""
    if not (root / ".git").exists():
        return None
    commit = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    if commit is None:
        return None
    changes = _output(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None
    return round(size / 2**30, 1)


def _gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
