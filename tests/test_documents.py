"""The documents: the files they name are there, and the code they show runs."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from itrec_dist import metrics
from itrec_dist.cli.app import VERBS, parsers_of
from itrec_dist.config.listing import listed, of_kinds

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md"))


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def named_files(document: str) -> set[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    tops = "|".join(("itrec_dist", "sql", "tests", "jobs", "cluster"))
    named = set(re.findall(rf"(?<![\w/.])((?:{tops})/[\w./]*\w)(?![\w/]*\*)", text))
    return named | set(re.findall(r"`([A-Z]+\.md)`", text))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    named = named_files(document)
    assert named, f"{document} names no file"
    assert not (missing := sorted(n for n in named if not (ROOT / n).exists())), missing


def test_files_that_the_pages_name_exist():
    named = {(page, name) for page in PAGES for name in named_files(page)}
    assert len(named) >= 9
    assert not (missing := sorted(one for one in named if not (ROOT / one[1]).exists())), missing


def slugs(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_a_document_lead_to_a_file_and_its_heading(document):
    # Those of the pages are checked as the site is built.
    text = (ROOT / document).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        page = ROOT / (target or document)
        assert page.exists(), target
        assert not anchor or anchor in slugs(page), f"{target}#{anchor}"


def commands() -> list[tuple[str, str]]:
    """Every command of the documents and pages, with where it stands."""
    found = []
    for document in (*DOCUMENTS, *PAGES):
        text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?: {4})?itrec (.+)$", text, re.MULTILINE)
        found += [(document, line) for line in lines + re.findall(r"`itrec (.+?)`", text)]
    return found


def is_of(verb: str, command: str) -> bool:
    return f"{command} ".startswith(f"{verb} ")


def test_documents_name_the_commands_that_there_are():
    for document, command in commands():
        is_about_all = command.startswith(("COMMAND", "--"))
        assert is_about_all or any(is_of(v, command) for v in VERBS), f"{document}: {command}"


@pytest.mark.parametrize("verb", VERBS)
def test_commands_of_the_documents_have_their_options(verb):
    every = [*parsers_of(verb)]
    every += [p for parser in every for kinds in of_kinds(parser).values() for p in kinds.values()]
    options = [option for one in every for part in listed(one).values() for option in part]
    names = {name.replace("-", "_") for option in options for name in option.names}
    sections = {name.partition(".")[0] for name in names}  # `--loss bce` is `--loss.kind bce`
    for document, command in commands():
        written = re.findall(r"(?<=\s)-{1,2}[a-zA-Z][\w.-]*", command.partition("#")[0])
        if is_of(verb, command):
            unknown = {name.replace("-", "_") for name in written} - names - sections - {"__help"}
            assert not unknown, f"{document}: itrec {command}"


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
