"""Parts found by name: files, folders, entry points of installed packages, `module:Class`."""

import sys

import pytest

from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError

GROUP = "itrec_dist.test_parts"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A package `parts_NAME` of our own, and an installed distribution with two entry points."""
    package = f"parts_{tmp_path.name.replace('-', '_')}"
    files = {
        f"{package}/__init__.py": "",
        f"{package}/big_one.py": "class BigOneConfig:\n    origin = 'own'\n",
        f"{package}/bst.py": "class BSTConfig:\n    origin = 'acronym'\n",
        f"{package}/shared.py": "class Base:\n    pass\n",
        "their_parts.py": (
            "class Theirs:\n    origin = 'installed'\nclass Mine:\n    origin = 'cwd'\n"
        ),
        "their_broken.py": "import a_package_that_is_not_there\n",
        "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
        "theirs-1.0.dist-info/entry_points.txt": (
            f"[{GROUP}]\ntheirs = their_parts:Theirs\nbroken = their_broken:Nothing\n"
            f"[{GROUP}.taken]\nbst = their_parts:Theirs\n"
        ),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in list(sys.modules):
        if name.startswith((package, "their_")):
            del sys.modules[name]


def registry(package, group=GROUP):
    return Registry("part", package, group=group, suffix="Config")


def test_files_with_their_class_and_entry_points_are_listed_without_being_imported(parts):
    assert list(registry(parts)) == ["big_one", "broken", "bst", "theirs"]
    assert f"{parts}.big_one" not in sys.modules
    assert "their_parts" not in sys.modules


def test_names_may_have_hyphens_for_the_underscores_of_their_files(parts):
    hyphened = Registry("part", parts, group=GROUP, suffix="Config", hyphens=True)
    assert list(hyphened) == ["big-one", "broken", "bst", "theirs"]
    assert hyphened["big-one"].origin == "own"
    assert "big_one" not in hyphened


def test_names_lead_to_classes(parts):
    found = registry(parts)
    assert found["big_one"].origin == "own"
    assert found["bst"].origin == "acronym"
    assert found["theirs"].origin == "installed"
    assert found["their_parts:Mine"].origin == "cwd"
    assert "their_parts:Mine" in found
    assert "nothing" not in found


def test_folders_hold_the_class_in_a_file_of_the_registrys_name():
    tasks = Registry("task", "itrec_dist.tasks", group=GROUP, file="task")
    assert {"item_vectors", "next_items", "ratings"} <= set(tasks)
    assert tasks["next_items"].__name__ == "NextItems"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", ["there is no part 'nothing'", "big_one, broken, bst, theirs", "module:Class"]),
        ("broken", ["the part broken of an installed package", "a_package_that_is_not_there"]),
        ("no_such_module:X", ["no_such_module:X", "ModuleNotFoundError"]),
        ("their_parts:Absent", ["their_parts:Absent", "AttributeError"]),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(parts, name, words):
    with pytest.raises(ConfigError) as refusal:
        registry(parts)[name]
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


def test_a_name_of_ours_is_not_taken_over(parts):
    with pytest.raises(ConfigError, match="'bst', which itrec-dist has too: rename it there"):
        registry(parts, f"{GROUP}.taken")["bst"]
