"""What `docs/how-to/every-input.md` shows runs, and every input gives one fingerprint."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from itrec_dist.data import manifest as manifests
from tests import object_store, servers

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "every-input.md"
WITHOUT_A_SERVER = (
    "Files", "Databases and queries", "Tables in memory", "Delta Lake", "Iceberg", "Every command"
)  # fmt: skip
COUNTED = {
    "Files": 7, "Databases and queries": 4, "Tables in memory": 4, "Delta Lake": 1, "Iceberg": 1,
    "Object stores": 3, "Postgres": 2, "MySQL": 2,
}  # fmt: skip
"""How many shards a section writes to `by/`."""


def sections() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def run(section: str, itrec) -> None:
    """The blocks of a section, in the working directory."""
    for language, code in re.findall(
        r"^```(\w+)\n(.*?)^```", sections()[section], re.DOTALL | re.MULTILINE
    ):
        if named := re.match(r"(?:#|--) file: (\S+)\n", code):
            Path(named.group(1)).write_text(code, encoding="utf-8")
        if language == "python":
            runpy.run_path(named.group(1))
        elif language == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                name, *arguments = shlex.split(line)
                assert name == "itrec"
                status, _, err = itrec(*arguments)
                assert status == 0, f"{line}\n{err}"


def checked(section: str, itrec) -> None:
    """Run a section; its shards have the fingerprint of the first input."""
    before = set(Path("by").glob("*"))
    run(section, itrec)
    made = set(Path("by").glob("*")) - before
    assert len(made) == COUNTED.get(section, 0)
    fingerprints = {manifests.read(shards).fingerprint for shards in Path("by").glob("*")}
    assert len(fingerprints) == 1


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Path]:
    """The folder in which the sections run, with the events."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = re.search(r"^```python\n(.*?)^```", sections()["The events"], re.DOTALL | re.M)
        assert code is not None
        Path("make_inputs.py").write_text(code.group(1), encoding="utf-8")
        runpy.run_path("make_inputs.py")
        query = re.search(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M)
        assert query is not None
        Path("in-time.sql").write_text(query.group(1), encoding="utf-8")
    return folder


def test_every_section_with_code_is_run():
    having = {
        name for name, text in sections().items() if re.search(r"^```(bash|python)", text, re.M)
    }
    assert having == {"The events", *WITHOUT_A_SERVER, *COUNTED}


@pytest.mark.slow
@pytest.mark.parametrize("section", WITHOUT_A_SERVER)
def test_an_input_of_the_page_is_read(page, monkeypatch, itrec, section):
    monkeypatch.chdir(page)
    checked(section, itrec)


@pytest.mark.slow
def test_the_object_store_of_the_page_is_read(page, monkeypatch, itrec):
    if object_store.command() is None:
        pytest.skip("moto_server is not installed: pip install -e '.[dev]'")
    monkeypatch.chdir(page)
    if not Path("inputs/delta").exists():
        run("Delta Lake", itrec)
    monkeypatch.setenv("ITREC_CACHE", str(page / "cache"))
    with object_store.serving():
        checked("Object stores", itrec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "serving"), [("Postgres", servers.postgres), ("MySQL", servers.mariadb)]
)
def test_the_server_of_the_page_is_read(page, monkeypatch, itrec, section, serving):
    monkeypatch.chdir(page)
    with serving() as where:
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        checked(section, itrec)
