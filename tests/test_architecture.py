"""The shape of the code, held: who imports what, in which order, and how long things may get."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import itrec_dist
from itrec_dist.cli.app import VERBS
from itrec_dist.runs.trackers.mlflow_model import LOADER

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "itrec_dist"

ORDER = """
    errors storage config losses system distributed data models metrics tasks engines runs training
    inference launch evaluation sweeps reports studies options api
    testing cli __main__
""".split()
"""The folders, lowest first: one imports only from itself and from those before it."""

RESTRICTED = {
    "adbc_driver_postgresql": {"data.doors.postgres"},
    "deepspeed": {"engines.deepspeed"},
    "deltalake": {"data.doors.lakes"},
    "duckdb": {"data.database", "data.doors", "data.source_files"},
    "pyiceberg": {"data.doors.lakes"},
    "pymysql": {"data.doors.mysql"},
    "ray": {"launch", "sweeps", "data.feeds", "distributed", "inference.recommend"}
    | {"system.doctor"},
}
"""Package -> the only modules that may import it."""

LAZY = {
    "adbc_driver_postgresql": {"data"},
    "deltalake": {"data"},
    "pyiceberg": {"data"},
    "pymysql": {"data"},
    "ray": {"data.feeds", "distributed", "inference.recommend", "system.doctor"},
    "torch": {"cli", "api", "options", "system.doctor", "distributed.torchrun"},
}
"""Package -> modules or folders that may import it inside functions only."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc"}


@dataclass(frozen=True)
class Import:
    """One import of `target` (dotted, absolute) in the file at `path`."""

    target: str
    line: int
    at_top: bool


def files(*folders: str, suffix: str = ".py") -> list[Path]:
    found = (p for folder in folders for p in sorted((ROOT / folder).rglob(f"*{suffix}")))
    return [p for p in found if "__pycache__" not in p.parts]


def name_of(path: Path) -> str:
    """`itrec_dist/losses/ce.py` -> `losses.ce`; a folder's `__init__` is the folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in files("itrec_dist")}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports(path: Path) -> list[Import]:
    """Every import that is executed, those for type checkers left out."""
    return list(_imports(tree(path), at_top=True))


def _imports(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), at_top=at_top)
        elif isinstance(child, ast.Import):
            yield from (Import(a.name, child.lineno, at_top) for a in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, at_top)
        elif (
            isinstance(child, ast.Call)
            and ast.unparse(child.func).endswith("import_module")
            and child.args
            and isinstance(child.args[0], ast.Constant)
        ):
            yield Import(str(child.args[0].value), child.lineno, at_top)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, at_top=at_top and not inside)


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, by their names in MODULES."""
    found = set()
    for imported in imports(path):
        package, _, inner = imported.target.partition(".")
        if package != "itrec_dist":
            continue
        while inner and inner not in MODULES:  # `from itrec_dist.config import load`
            inner = inner.rpartition(".")[0]
        found.add(inner or "__init__")
    return found


@cache
def graph() -> dict[str, set[str]]:
    """Module -> those of this package that it imports."""
    return {name: own_imports(path) - {name} for name, path in MODULES.items()}


def subject(name: str) -> str:
    return name.partition(".")[0]


def belongs(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def test_there_is_a_package_to_look_at():
    assert {"config.parser", "errors", "cli.app"} <= set(MODULES)
    assert "storage.atomic" in graph()["runs.directory"]
    assert "errors" in graph()["config.parser"]


@pytest.mark.parametrize("package", RESTRICTED)
def test_a_restricted_package_is_imported_in_its_place_only(package):
    wrong = [
        f"{name}:{i.line}"
        for name, path in MODULES.items()
        for i in imports(path)
        if i.target.partition(".")[0] == package and not belongs(name, RESTRICTED[package])
    ]
    assert not wrong, f"{package} is imported outside {sorted(RESTRICTED[package])}: {wrong}"


@pytest.mark.parametrize("package", LAZY)
def test_a_heavy_package_is_imported_when_it_is_used(package):
    wrong = [
        f"{name}:{i.line}"
        for name, path in MODULES.items()
        for i in imports(path)
        if i.target.partition(".")[0] == package and i.at_top and belongs(name, LAZY[package])
    ]
    assert not wrong, f"move these imports of {package} into the functions that use it: {wrong}"


def test_every_module_has_a_place_in_the_order():
    unplaced = {subject(name) for name in MODULES} - set(ORDER) - {"__init__"}
    assert not unplaced, f"give {sorted(unplaced)} a place in ORDER (tests/test_architecture.py)"


def test_a_module_imports_only_from_above():
    rank = {name: i for i, name in enumerate(ORDER)}
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if subject(target) != subject(name)
        and subject(target) != "__init__"
        and rank.get(subject(target), -1) > rank.get(subject(name), len(rank))
    ]
    assert not wrong, f"against the order: {wrong}"


def test_no_module_imports_itself_in_a_circle():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for target in sorted(graph()[name]):
                if not (target == subject(name) and "." in name):  # a folder's own __init__
                    visit(target, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_every_module_is_reached_from_the_command_or_the_library():
    reached: set[str] = set()
    waiting = [
        "__main__",
        "__init__",
        "testing",  # for the tests of other packages
        *(f"api.{module}" for module in itrec_dist._MODULES),
        *(f"cli.{module}" for module, _ in VERBS.values()),
        LOADER.removeprefix("itrec_dist."),  # by MLflow
    ]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in MODULES:
            continue
        reached.add(name)
        waiting += [*graph()[name], name.rpartition(".")[0]]
        found_by_name = {i.target for i in imports(MODULES[name])} & {
            "pkgutil",
            "itrec_dist.config.registry.Registry",
        }
        if found_by_name and MODULES[name].stem == "__init__":
            waiting += [other for other in MODULES if other.startswith(name + ".")]
    orphans = set(MODULES) - reached
    assert not orphans, f"nothing registers or imports {sorted(orphans)}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_module_with_a_parser_and_a_run(verb):
    command = importlib.import_module(f"itrec_dist.cli.{VERBS[verb][0]}")
    assert callable(command.parser)
    assert callable(command.run)


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"completion"}))  # which is for shells alone
def test_a_verb_does_what_a_function_of_the_library_does(verb):
    called = {n for n in graph()[f"cli.{VERBS[verb][0]}"] if n.startswith("api.")}
    assert called, f"give the library what `itrec {verb}` does"


def test_every_command_is_a_verb():
    commands = {n.partition(".")[2] for n in MODULES if n.startswith("cli.")} - {"app"}
    assert commands == {module for module, _ in VERBS.values()}


def test_no_drawer_for_things_without_a_name():
    wrong = [str(p) for p in files("itrec_dist", "jobs", "tests") if p.stem in DRAWERS]
    wrong += [n for n in MODULES if set(n.split(".")) & DRAWERS]
    assert not wrong


@pytest.mark.parametrize("suffix", [".py", ".sql"])
def test_a_file_is_read_in_one_sitting(suffix):
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files("itrec_dist", "jobs", "tests", "sql", suffix=suffix)
    }
    long = {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert not long, f"split these, they have more than {MAX_FILE_LINES} lines: {long}"


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in files("itrec_dist", "jobs"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_a_function_fits_a_screen():
    long = {w: n.end_lineno - n.lineno + 1 for w, n in functions() if n.end_lineno}
    long = {where: lines for where, lines in long.items() if lines > MAX_FUNCTION_LINES}
    assert not long, f"split these, they have more than {MAX_FUNCTION_LINES} lines: {long}"


def test_a_signature_can_be_remembered():
    many = {}
    for where, node in functions():
        spec = node.args
        names = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            many[where] = count
    assert not many, f"more than {MAX_PARAMETERS} parameters: {many}"


def test_no_component_is_configured_through_unchecked_keywords():
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            field = (
                node.target.id
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
                else getattr(node, "arg", None)
            )
            if isinstance(field, str) and field.endswith("_kwargs"):
                wrong.append(f"{name}:{getattr(node, 'lineno', '?')} {field}")
    assert not wrong


def test_every_configuration_is_frozen_and_documented():
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ClassDef) or not node.name.endswith("Config"):
                continue
            decorators = [ast.unparse(d) for d in node.decorator_list]
            if any("dataclass" in d and "frozen=True" not in d for d in decorators):
                wrong.append(f"{name}.{node.name} is not frozen")
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not documented:
                    wrong.append(f"{name}.{node.name}.{ast.unparse(field.target)} has no docstring")
    assert not wrong
