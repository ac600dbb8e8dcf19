import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import itrec_dist
from itrec_dist.cli.app import main
from itrec_dist.system import doctor, limits


def test_a_package_that_is_too_old_fails_and_names_the_command_that_mends_it():
    check = doctor.package(Requirement("numpy>=999"))
    assert check.status == "failed"
    assert "needs >=999" in check.found
    assert check.action == f"{sys.executable} -m pip install 'numpy>=999'"


def test_a_missing_package_fails_unless_the_main_job_does_without_it():
    assert doctor.package(Requirement("itrec-no-such-package>=1")).status == "failed"
    lacking = doctor.package(Requirement("deepspeed>=999; platform_system == 'Linux'"))
    assert lacking.status == "warning"
    assert "DeepSpeed engine" in lacking.found
    assert lacking.action.endswith("pip install 'deepspeed>=999'")


def test_a_marker_of_another_system_is_not_asked_for(monkeypatch):
    requirements = [Requirement("itrec-no-such-package; platform_system == 'Elsewhere'")]
    monkeypatch.setattr(doctor, "_requirements", lambda: (">=3.11", requirements))
    assert list(doctor.packages()) == []


@pytest.fixture
def package_with_extra(tmp_path, monkeypatch):
    info = tmp_path / "itrec_fixture-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: itrec-fixture\nVersion: 1.0\n"
        "Requires-Dist: itrec-no-such-package; extra == 'more'\n"
        "Requires-Dist: numpy>=999; extra == 'more'\n"
        "Requires-Dist: numpy; extra == 'fine'\n"
        "Requires-Dist: itrec-elsewhere; extra == 'more' and platform_system == 'Elsewhere'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package_with_extra")
def test_what_an_extra_lacks_is_named():
    assert doctor.package(Requirement("itrec-fixture[fine]>=1")).status == "ok"
    check = doctor.package(Requirement("itrec-fixture[more]>=1"))
    assert check.status == "failed"
    assert "itrec-no-such-package" in check.found
    assert "numpy>=999" in check.found
    assert "elsewhere" not in check.found


def test_every_declared_dependency_is_checked():
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    needed, requirements = doctor._requirements()
    names = {r.name.lower() for r in requirements}
    assert {"torch", "ray", "duckdb", "pyarrow", "jsonargparse"} <= names
    assert "pytest" not in names  # the development extra is no requirement of a run
    for bound in needed.split(","):
        assert bound in pyproject.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("available_gib", "status"), [(1.9, "failed"), (2.1, "warning"), (4.1, "ok"), (None, "ok")]
)
def test_memory_is_judged_by_what_is_free(monkeypatch, available_gib, status):
    available = None if available_gib is None else int(available_gib * doctor.GIB)
    monkeypatch.setattr(limits, "memory", lambda: (64 * doctor.GIB, available))
    check = doctor.memory()
    assert check.status == status
    assert bool(check.action) == (status != "ok")
    assert check.values == {"total": 64 * doctor.GIB, "available": available}


def test_a_containers_memory_limit_counts_without_its_page_cache(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 600\n")
    assert (1000, 300) in list(limits._memory_limits(tmp_path))
    (tmp_path / "memory.max").write_text("max\n")
    assert list(limits._memory_limits(tmp_path)) == []


def test_an_older_kernels_unlimited_group_is_no_limit(tmp_path):
    group = tmp_path / "memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (group / "memory.usage_in_bytes").write_text("5\n")
    (group / "memory.stat").write_text("inactive_file 0\n")
    assert list(limits._memory_limits(tmp_path)) == []
    (group / "memory.limit_in_bytes").write_text("4096\n")
    assert list(limits._memory_limits(tmp_path)) == [(4096, 5)]


def test_a_cpu_quota_counts_as_fewer_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    unbound = limits.cores()
    assert unbound >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert limits.cores() == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert limits.cores() == unbound


def test_this_machine_has_memory():
    total, available = limits.memory()
    assert total is None or total > 2**28
    assert available is None or total is None or 0 < available <= total


def test_a_disk_is_judged_by_its_free_room(tmp_path, monkeypatch):
    assert doctor.disk("Disk", tmp_path / "absent").status == "failed"
    size = dict.fromkeys(("total", "free"), 0)
    usage = type("Usage", (), size)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    judged = {}
    for total, free in ((100, 0.5), (1000, 40), (20, 3), (100, 50)):
        usage.total, usage.free = total * doctor.GIB, free * doctor.GIB
        judged[total, free] = doctor.disk("Disk", tmp_path).status
    assert judged == {
        (100, 0.5): "failed",
        (1000, 40): "warning",  # roomy, but more than 95 % full: Ray stops writing
        (20, 3): "warning",
        (100, 50): "ok",
    }


def test_what_deepspeed_misses_to_build_is_named_and_is_no_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    check = doctor.deepspeed_build()
    assert (check.status, check.action) == ("ok", "")
    assert "training needs none" in check.found
    assert "could not be built" in check.found
    assert check.values["missing"][:2] == ["no g++", "no ninja"]
    assert check.values["version"] == importlib.metadata.version("deepspeed")
    for tool in ("g++", "ninja"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    assert "g++" not in doctor.deepspeed_build().found
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no no-such-compiler" in doctor.deepspeed_build().found


def test_rays_temporary_folder_must_be_short_enough_for_sockets(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 20)))
    check = doctor.ray_ground()
    assert check.status == "failed"
    assert "RAY_TMPDIR" in check.action
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert doctor.ray_ground().status == "ok"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "10.0.0.1:6379" in doctor.ray_ground().found


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torch", "ray"])
def test_a_package_that_cannot_be_imported_is_a_finding_and_no_crash(
    package, tmp_path, monkeypatch
):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise OSError('libgone.so: not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "itrec_dist", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    failed = {c["name"]: c for c in json.loads(done.stdout)["checks"] if c["status"] == "failed"}
    name = {"torch": "torch build", "ray": "Ray"}[package]
    assert "libgone.so" in failed[name]["found"]
    assert failed[name]["action"]


def test_a_broken_shipment_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shipped_files, "sql_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor.shipped_files, "recipes_folder", lambda: tmp_path)
    assert doctor.files().status == "failed"
    (tmp_path / "windows").mkdir()
    (tmp_path / "windows" / "events.sql").write_text("select 1")
    (tmp_path / "debug.yaml").write_text("{}")
    assert doctor.files().status == "ok"


def test_the_command_prints_one_json_object_and_its_code_says_whether_the_job_can_run(
    capsys, monkeypatch
):
    code = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["can_run"] == (code == 0)
    names = [check["name"] for check in told["checks"]]
    assert {"Python", "torch", "Memory", "Disk here", "Devices", "Ray"} <= set(names)
    assert len(names) == len(set(names))
    assert {check["status"] for check in told["checks"]} <= {"ok", "warning", "failed"}

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long" * 30)
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "Training cannot run here." in told
    assert "Ray: set RAY_TMPDIR to a short path" in told
    assert (
        max(map(len, told.splitlines())) > 100
    )  # plain lines are not cut where there is no terminal


def test_the_library_prints_the_table_of_the_command(capsys, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long" * 30)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    main(["doctor"])
    told = capsys.readouterr().out
    examined = itrec_dist.doctor()
    assert not examined.can_run
    assert examined["Ray"].status == "failed"
    assert "can_run=False" in repr(examined)
    changing = re.compile(r"[\d.]+ GiB free")  # memory and disk, from one moment to the next
    assert changing.sub("", str(examined)) == changing.sub("", told.rstrip("\n"))


@pytest.mark.slow
def test_deepspeed_is_looked_for_but_not_imported():
    program = (
        "import sys; from itrec_dist.system import doctor; doctor.examine(); "
        "sys.exit('deepspeed' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env={**os.environ}, timeout=120
    )
    assert done.returncode == 0
