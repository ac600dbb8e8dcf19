"""The documents: the files they name are there, and the code they show runs."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from itrec_dist import metrics

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    tops = "|".join(("itrec_dist", "sql", "tests", "jobs", "cluster"))
    named = set(re.findall(rf"(?<![\w/.])((?:{tops})/[\w./]*\w)", text))
    named |= set(re.findall(r"`([A-Z]+\.md)`", text))
    assert named, f"{document} names no file"
    assert not (missing := sorted(n for n in named if not (ROOT / n).exists())), missing


@pytest.fixture
def workplace(shards, tmp_path, monkeypatch):
    """A folder with the code of CONTRIBUTING.md and some shards, as the working directory."""
    parts: dict[str, list[str]] = {}
    for block in blocks("CONTRIBUTING.md", "python"):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, "a Python block begins with the name of its file"
        parts.setdefault(name.group(1), []).append(block)
    for name, code in parts.items():
        (tmp_path / name).write_text("\n\n".join(code), encoding="utf-8")
    (tmp_path / "shards").symlink_to(shards)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "_given", {})  # a metric that is loaded stays for the process
    before = set(sys.modules)
    yield tmp_path
    for module in set(sys.modules) - before:
        if module.startswith("my_"):
            del sys.modules[module]


@pytest.mark.slow
def test_the_models_of_contributing_keep_what_models_promise(workplace, monkeypatch):
    monkeypatch.syspath_prepend(workplace)
    runpy.run_path(str(workplace / "test_my_parts.py"))["test_my_models_keep_what_models_promise"]()


def test_the_commands_of_contributing_run(workplace, itrec):
    commands = [
        line
        for block in blocks("CONTRIBUTING.md", "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert len(commands) >= 3
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "itrec"
        code, _, err = itrec(*arguments)
        assert code == 0, f"{command}\n{err}"
    report = (workplace / "report.html").read_text(encoding="utf-8")
    assert "last 3 items, my_parts:DrawnConfig" in report
    assert re.search(r">\s*F1\s*<", report)
    assert pq.read_table(workplace / "top.parquet").num_rows > 0
