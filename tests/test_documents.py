"""The documents: the files they name are there, and the code they show runs."""

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist import metrics
from itrec_dist.models import MODELS
from tests.histories_factory import judged_rows
from tests.small_models import batch_of, drawn

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


def test_the_transformer_of_contributing_looks_at_nothing_later(workplace):
    sys.path.insert(0, str(workplace))
    try:
        settings = MODELS["my_parts:ParallelConfig"](width=16, num_heads=2, dropout=0.0)
    finally:
        sys.path.remove(str(workplace))
    model, batch = drawn(settings), batch_of(judged_rows(9, longest=8, targets=1), 8)
    ids_BL = batch.item_ids_BL.clone()
    ids_BL[:, -1] = ids_BL[:, -1] % 12 + 1
    before = model.encode_steps(batch)
    after = model.encode_steps(replace(batch, item_ids_BL=ids_BL))
    is_event_BL = batch.item_ids_BL != 0
    assert torch.equal(before[:, :-1][is_event_BL[:, :-1]], after[:, :-1][is_event_BL[:, :-1]])
    assert (before[:, -1] != after[:, -1]).any(dim=1).all()


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
