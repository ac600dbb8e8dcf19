"""The site in `docs/`: it builds without a warning, and what its pages show runs."""

import importlib.util
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"

IN_ORDER = (
    "tutorials/first-recommender", "tutorials/your-own-data", "tutorials/search", "index",
    "how-to/read-data", "how-to/recommend", "how-to/serve", "how-to/resume", "how-to/own-parts",
    "reference/editors",
)  # fmt: skip
"""The pages whose code runs, in one folder: later ones use what earlier ones wrote.

Blocks of `bash` and `python` run; those of `sh` and `py` name places that are not there, such as a
cluster.
"""


def blocks(page: str) -> list[tuple[str, str]]:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_with_code_is_in_the_order():
    having = {
        page.relative_to(PAGES).with_suffix("").as_posix()
        for page in PAGES.rglob("*.md")
        if re.search(r"^```(bash|python)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert having == {*IN_ORDER, "how-to/every-input"}, "whose code runs in test_every_input"


@pytest.mark.slow
def test_what_the_pages_show_runs(tmp_path, monkeypatch, itrec, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ITREC_CACHE", str(tmp_path / "cache"))
    for page in IN_ORDER:
        for language, code in blocks(page):
            if named := re.match(r"(?:#|--) file: (\S+)\n", code):
                Path(named.group(1)).write_text(code, encoding="utf-8")
            if language == "python":
                place = Path(named.group(1) if named else "block.py")
                place.write_text(code, encoding="utf-8")
                runpy.run_path(str(place))
            elif language == "bash":
                for line in code.replace("\\\n", " ").splitlines():
                    name, *arguments = shlex.split(line, comments=True)
                    assert name == "itrec"
                    target = arguments.pop() if ">" in arguments else None
                    if target is not None:
                        assert arguments.pop() == ">"
                    status, out, err = itrec(*arguments)
                    assert status == 0, f"{page}: {line}\n{err}"
                    if target is not None:
                        Path(target).write_text(out, encoding="utf-8")
    assert pq.read_table("shop-top.parquet").num_rows > 0
    assert json.loads(Path("train.schema.json").read_text())["properties"]
    for report in ("report.html", "shop.html", "sweep/report.html"):
        assert Path(report).stat().st_size > 10_000


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'itrec-dist[docs]'")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-4000:]
    library = (tmp_path / "site/reference/library.html").read_text(encoding="utf-8")
    assert "leave_one_out" in library, "no docstring is shown"
    train = (tmp_path / "site/reference/commands/train.html").read_text(encoding="utf-8")
    assert "--checkpoints.keep_last" in train
    assert (tmp_path / "site/reference/schemas/train.json").is_file()
    assert (tmp_path / "site/results/histories.html").is_file()
