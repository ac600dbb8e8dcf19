"""The wheel as a user gets it: installed away from the checkout, run away from the checkout."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None,
    reason="hatchling, which builds the wheel, is not installed: pip install -e '.[dev]'",
)


def call(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    call(sys.executable, "-m", "pip", "wheel", *offline, "-w", place, ROOT, cwd=place)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel and this environment's other packages."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    call(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-deps", "--no-index", "--quiet", wheel),
        cwd=place,
    )
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    # A path file inside a folder that a path file names is not read, so the checkout's editable
    # installation stays out of sight.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return place / "bin"


def test_the_wheel_holds_the_code_the_licence_and_every_file_beside_the_code(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shipped = [*(ROOT / "sql").rglob("*.sql"), *(ROOT / "jobs" / "recipes").rglob("*.yaml")]
    assert shipped
    for path in shipped:
        assert f"itrec_dist/_files/{path.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "itrec_dist").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names
    assert not any(name.startswith(("tests/", "runs/")) for name in names)


def test_the_command_runs_from_the_wheel(installed, tmp_path):
    assert "itrec COMMAND" in call(installed / "itrec", "--help", cwd=tmp_path)
    assert call(installed / "itrec", "--version", cwd=tmp_path).startswith("itrec ")


def test_sql_and_recipes_are_found_in_the_wheel_and_not_in_the_checkout(installed, tmp_path):
    program = (
        "import itrec_dist; from itrec_dist.config import shipped_files\n"
        "print(itrec_dist.__file__)\n"
        "print(shipped_files.sql_folder()); print(shipped_files.recipes_folder())\n"
        "print(*sorted(p.stem for p in shipped_files.recipes_folder().glob('*.yaml')))\n"
        "print(len(list(shipped_files.sql_folder().rglob('*.sql'))))\n"
    )
    told = call(installed / "python", "-c", program, cwd=tmp_path).splitlines()
    for path in told[:3]:
        assert Path(path).is_relative_to(installed.parent), f"{path} is not the wheel's"
    recipes = sorted(p.stem for p in (ROOT / "jobs" / "recipes").glob("*.yaml"))
    assert told[3].split() == recipes
    assert int(told[4]) == len(list((ROOT / "sql").rglob("*.sql")))


@pytest.mark.slow
def test_every_module_can_be_imported_from_the_wheel(installed, tmp_path):
    program = (
        "import importlib, pkgutil, itrec_dist\n"
        "names = [m.name for m in pkgutil.walk_packages(itrec_dist.__path__, 'itrec_dist.')]\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "print(*names)\n"
    )
    deprecated = ("-W", "error::DeprecationWarning:itrec_dist")
    imported = call(installed / "python", *deprecated, "-c", program, cwd=tmp_path).split()
    modules = [p for p in (ROOT / "itrec_dist").rglob("*.py") if p.parent != ROOT / "itrec_dist"]
    assert len(imported) >= len(modules)
    assert "itrec_dist.engines.precision" in imported
