"""Checks whether this machine has what the package needs.

Contains the checks, their thresholds and the advice for each. Builds, installs and changes nothing;
DeepSpeed is detected but never imported, because importing it can start a compilation. Printing is
left to the command.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from itrec_dist.config import shipped_files
from itrec_dist.system import arithmetic, limits

Status = Literal["ok", "warning", "failed"]

GIB = 2**30
MEMORY_NEEDED = 2 * GIB
"""For two training workers, Ray's own processes and the driver; with less, training dies."""
MEMORY_WANTED = 4 * GIB
DISK_NEEDED = 1 * GIB
DISK_WANTED = 5 * GIB
SHARED_MEMORY_WANTED = 1 * GIB
"""Ray's object store falls back to slow files if /dev/shm is smaller than what it requests."""
FULL_DISK = 0.95
"""The fraction of a disk in use at which Ray stops writing (`local_fs_capacity_threshold`)."""
LONGEST_TEMPORARY_PATH = 107 - len(
    "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
)
"""A Unix socket's path has at most 107 bytes, of which Ray's sockets need these."""
START_TIMEOUT = 180

OPTIONAL = {
    "deepspeed": "only the DeepSpeed engine needs it",
    "ray[default]": "only `ray job submit` and the dashboard need it",
}
"""Requirements that training does not need, and what does need them."""


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of one check of this machine."""

    name: str
    status: Status
    found: str
    action: str = ""
    """What to do about it; empty if nothing is needed."""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The result as plain numbers and names, for scripts; sizes in bytes."""


def examine(*, start_ray: bool = False) -> list[Check]:
    """Run every check, in the order in which problems should be fixed.

    Args:
        start_ray: also start Ray (or join the cluster that RAY_ADDRESS names), run a task on it
            and stop it; takes about 15 seconds.
    """
    checks = [python(), *packages(), files()]
    if importlib.util.find_spec("torch"):
        checks.append(torch_build())
        if checks[-1].status != "failed":
            checks += [devices(), precision()]
    if importlib.util.find_spec("ray"):
        checks += [ray_ground(), shared_memory()]
        if start_ray:
            checks.append(ray_start())
    checks += [memory(), *disks()]
    if platform.system() == "Linux" and importlib.util.find_spec("deepspeed"):
        checks.append(deepspeed_build())
    return checks


def can_run(checks: list[Check]) -> bool:
    """Whether training can run here."""
    return all(check.status != "failed" for check in checks)


def python() -> Check:
    """The interpreter's version against the package's `requires-python`."""
    version = platform.python_version()
    needed = _requirements()[0]
    fits = SpecifierSet(needed).contains(version, prereleases=True)
    action = "" if fits else f"make a new environment with a Python that fits {needed}"
    found = f"{version} at {sys.executable} (needs {needed})"
    return Check("Python", "ok" if fits else "failed", found, action, {"version": version})


def packages() -> Iterator[Check]:
    """One check for each package that itrec-dist depends on, extras included."""
    for requirement in _requirements()[1]:
        if requirement.marker is None or requirement.marker.evaluate():
            yield package(requirement)


def package(requirement: Requirement) -> Check:
    """One installed package against its requirement."""
    name, needed = requirement.name, str(requirement.specifier) or "any version"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _lacking(requirement, name, f"missing (needs {needed})", None)
    if not requirement.specifier.contains(version, prereleases=True):
        return _lacking(requirement, name, f"{version} (needs {needed})", version)
    for extra in sorted(requirement.extras):
        missing = _missing_of_extra(name, extra)
        if missing:
            found = f"{version}, but {name}[{extra}] lacks {', '.join(missing)}"
            return _lacking(requirement, f"{name}[{extra}]", found, version)
    return Check(name, "ok", f"{version} (needs {needed})", "", {"version": version})


def files() -> Check:
    """The SQL files and recipes that are shipped beside the code."""
    lacking = []
    for title, folder, pattern in (
        ("SQL files", shipped_files.sql_folder, "**/*.sql"),
        ("recipes", shipped_files.recipes_folder, "*.yaml"),
    ):
        try:
            if not any(folder().glob(pattern)):
                lacking.append(title)
        except AssertionError:
            lacking.append(title)
    if lacking:
        found = f"the installation lacks its {' and '.join(lacking)}"
        return Check("Files", "failed", found, "install itrec-dist again")
    return Check("Files", "ok", f"SQL in {shipped_files.sql_folder()}", "")


def torch_build() -> Check:
    """The platform that torch was built for, against the installed driver."""
    try:
        import torch
    except Exception as error:  # a broken installation can raise anything
        found = f"cannot be imported: {error}"
        return Check("torch build", "failed", found, _pip("--force-reinstall", "torch"))
    cuda = torch.version.cuda
    built_for = (
        f"CUDA {cuda}" if cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU"
    )
    values = {"version": torch.__version__, "cuda": cuda, "hip": torch.version.hip}
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if has_driver and not cuda:
        action = "install a CUDA build of torch (see pytorch.org) to train on the GPU"
        found = f"{torch.__version__} is built for {built_for}, but there is an NVIDIA driver"
        return Check("torch build", "warning", found, action, values)
    if cuda and has_driver and not torch.cuda.is_available():
        action = f"update the NVIDIA driver, or install a torch for an older CUDA than {cuda}"
        found = f"{torch.__version__} cannot use the NVIDIA driver"
        return Check("torch build", "warning", found, action, values)
    return Check("torch build", "ok", f"{torch.__version__}, built for {built_for}", "", values)


def devices() -> Check:
    """The processors that training can use."""
    import torch

    cores = limits.cores()
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    mps = torch.backends.mps.is_available()
    parts = [f"{gpu.name} ({_gib(gpu.total_memory)})" for gpu in gpus]
    parts += ["Apple GPU (mps)"] * mps
    parts.append(f"CPU with {cores:g} core{'s' * (cores != 1)}")
    values = {
        "cpu_cores": cores,
        "gpus": [{"name": gpu.name, "memory": gpu.total_memory} for gpu in gpus],
        "mps": mps,
    }
    if cores < 2:
        action = "two workers would share one core; --local trains in one process"
        return Check("Devices", "warning", ", ".join(parts), action, values)
    return Check("Devices", "ok", ", ".join(parts), "", values)


def precision(able: frozenset[arithmetic.Precision] | None = None) -> Check:
    """What `engine.precision=auto` chooses; `able` are the native precisions, None detects them."""
    if able is None:
        import torch

        able = arithmetic.native(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    emulated = [name for name in ("bf16", "fp16") if name not in able]
    auto = arithmetic.fastest(able)
    found = f"engine.precision=auto takes {auto}"
    found += f"; {' and '.join(emulated)} would be emulated, which is slow" if emulated else ""
    return Check("Precision", "ok", found, "", {"auto": auto, "emulated": emulated})


def ray_ground() -> Check:
    """Whether Ray can be imported and has a usable folder for its sockets, or a cluster to join."""
    try:
        import ray
    except Exception as error:  # a broken installation fails in many ways
        found = f"cannot be imported: {error}"
        return Check(
            "Ray", "failed", found, _pip("--force-reinstall", "ray[data,default,train,tune]")
        )
    address = os.environ.get("RAY_ADDRESS")
    if address:
        found = f"{ray.__version__}; runs join the cluster that RAY_ADDRESS names, {address}"
        return Check("Ray", "ok", found, "", {"address": address})
    place = _ray_folder()
    if len(str(place).encode()) > LONGEST_TEMPORARY_PATH:
        found = f"the path of its temporary folder {place} is too long for sockets"
        return Check("Ray", "failed", found, "set RAY_TMPDIR to a short path, such as /tmp")
    if not os.access(place, os.W_OK):
        found = f"its temporary folder {place} cannot be written"
        return Check("Ray", "failed", found, "set RAY_TMPDIR to a folder that you may write to")
    found = f"{ray.__version__} starts on this machine when needed (--start-ray tries it)"
    return Check("Ray", "ok", found, "", {"address": None, "temporary_folder": str(place)})


def ray_start() -> Check:
    """Start Ray in a subprocess, run one task, stop it."""
    started = time.monotonic()
    probe = (
        "import ray; ray.init(log_to_driver=False); "
        "print(ray.get(ray.remote(num_cpus=0)(lambda: 'reached').remote())); ray.shutdown()"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            capture_output=True, text=True, timeout=START_TIMEOUT, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        found = f"did not start within {START_TIMEOUT} seconds"
        return Check("Ray start", "failed", found, f"read the logs under {_ray_folder()}/ray")
    seconds = time.monotonic() - started
    if done.returncode or "reached" not in done.stdout:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("Ray start", "failed", reason, f"read the logs under {_ray_folder()}/ray")
    found = f"started, ran a task and stopped in {seconds:.0f} s"
    return Check("Ray start", "ok", found, "", {"seconds": round(seconds, 1)})


def shared_memory() -> Check:
    """The space for Ray's object store in /dev/shm."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Check("Shared memory", "ok", "no /dev/shm on this system: Ray uses files")
    free = shutil.disk_usage(place).free
    if free >= SHARED_MEMORY_WANTED:
        return Check("Shared memory", "ok", f"{_gib(free)} free in /dev/shm", "", {"free": free})
    found = f"{_gib(free)} free in /dev/shm: Ray keeps its objects in files, which is slow"
    action = "give the container more shared memory, such as `docker run --shm-size=4g`"
    return Check("Shared memory", "warning", found, action, {"free": free})


def memory() -> Check:
    """Free memory, within the container's limit."""
    total, available = limits.memory()
    values = {"total": total, "available": available}
    if available is None:
        found = f"{_gib(total)} in total" if total else "unknown on this system"
        return Check("Memory", "ok", found, "", values)
    found = f"{_gib(available)} free of {_gib(total)}"
    if available < MEMORY_NEEDED:
        action = f"free some memory: two workers on Ray need {_gib(MEMORY_NEEDED)}"
        return Check("Memory", "failed", found, action, values)
    if available < MEMORY_WANTED:
        action = f"close other programs: two workers should have {_gib(MEMORY_WANTED)}"
        return Check("Memory", "warning", found, action, values)
    return Check("Memory", "ok", found, "", values)


def disks() -> Iterator[Check]:
    """Free space in the working directory and where Ray spills objects."""
    yield disk("Disk here", Path.cwd())
    yield disk("Disk for Ray", _ray_folder())


def disk(name: str, place: Path) -> Check:
    """Free space on the disk of `place`."""
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        return Check(name, "failed", f"{place}: {error.strerror}", "choose a folder that exists")
    values = {"path": str(place), "total": usage.total, "free": usage.free}
    found = f"{_gib(usage.free)} free at {place}"
    if usage.free < DISK_NEEDED:
        action = f"free some space: {_gib(DISK_NEEDED)} is needed"
        return Check(name, "failed", found, action, values)
    if usage.free < (1 - FULL_DISK) * usage.total:
        action = f"free some space: Ray stops writing to a disk that is {FULL_DISK:.0%} full"
        return Check(name, "warning", found, action, values)
    if usage.free < DISK_WANTED:
        return Check(name, "warning", found, f"{_gib(DISK_WANTED)} is recommended", values)
    return Check(name, "ok", found, "", values)


def deepspeed_build() -> Check:
    """Whether DeepSpeed's operators could be compiled; the engine trains without them."""
    version = importlib.metadata.version("deepspeed")
    compiler = os.environ.get("CXX", "g++")
    missing = [f"no {tool}" for tool in (compiler, "ninja") if not shutil.which(tool)]
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        missing.append("no Python.h")
    missing += _missing_of_cuda_toolkit()
    can_build = f"could not be built ({', '.join(missing)})" if missing else "could be built"
    found = f"{version}; training needs none of its compiled operators, which {can_build} here"
    values = {"version": version, "missing": missing}
    return Check("DeepSpeed operators", "ok", found, "", values)


def _requirements() -> tuple[str, list[Requirement]]:
    """The declared Python versions and packages, from the installed package or the checkout."""
    try:
        declared = importlib.metadata.metadata("itrec-dist")
        lines = importlib.metadata.requires("itrec-dist") or []
        needed = str(declared["Requires-Python"])
    except importlib.metadata.PackageNotFoundError:
        pyproject = Path(__file__).resolve().parents[2] / "pyproject.toml"
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        lines, needed = project["dependencies"], project["requires-python"]
    requirements = [Requirement(line) for line in lines]
    return needed, [r for r in requirements if "extra" not in str(r.marker or "")]


def _lacking(requirement: Requirement, name: str, found: str, version: str | None) -> Check:
    status: Status = "warning" if name in OPTIONAL else "failed"
    note = f"; {OPTIONAL[name]}" if name in OPTIONAL else ""
    plain = Requirement(str(requirement))
    plain.marker = None
    return Check(name, status, found + note, _pip(str(plain)), {"version": version})


def _missing_of_extra(name: str, extra: str) -> list[str]:
    """The packages for an extra of the installed `name` that are missing or too old."""
    missing = []
    for line in importlib.metadata.requires(name) or []:
        inner = Requirement(line)
        if inner.marker is None or not inner.marker.evaluate({"extra": extra}):
            continue
        if inner.marker.evaluate({"extra": ""}):
            continue  # a requirement of `name` itself
        try:
            version = importlib.metadata.version(inner.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(inner.name)
            continue
        if not inner.specifier.contains(version, prereleases=True):
            missing.append(f"{inner.name}{inner.specifier} (installed: {version})")
    return missing


def _missing_of_cuda_toolkit() -> list[str]:
    """What is missing to build for this machine's GPU."""
    try:
        import torch
        from torch.utils.cpp_extension import CUDA_HOME
    except Exception:  # torch has its own check
        return []
    cuda = torch.version.cuda
    if not cuda or not torch.cuda.is_available():
        return []
    compiler = Path(CUDA_HOME or "/nowhere") / "bin" / "nvcc"
    if not compiler.exists():
        return ["no CUDA toolkit"]
    said = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False
    ).stdout
    release = re.search(r"release (\d+)", said)
    if release and release.group(1) != cuda.split(".")[0]:
        return [f"the CUDA toolkit is {release.group(1)}, torch is built for {cuda}"]
    return []


def _ray_folder() -> Path:
    """Where Ray puts its sockets and logs and spills its objects."""
    system = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()
    return Path(os.environ.get("RAY_TMPDIR") or system)


def _pip(*words: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *words])


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / GIB:.1f} GiB"
