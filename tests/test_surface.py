"""What users depend on: the options of every command, and the files that are left behind.

Rearranging the code must not change either. Both are stored as text in `tests/surface/`.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import Command
from tests.swept import FIXED, run_here, sweep_of

STORED = Path(__file__).with_name("surface")

OPTION = re.compile(r"^  (?:-\w(?: [A-Z]+)?, )?(--[\w.-]+)(?: .*?)?(?:  (.*))?$", re.MULTILINE)
"""An option's line in a help text: its long name, its description."""

CHANGING = ((re.compile(r"events\.out\.tfevents\..*"), "events.out.tfevents.*"),)
"""File names that differ from run to run, and what stands for them."""


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Callable[[str, list[str]], None]:
    """Compare lines with the stored ones, or with --regenerate-golden store them."""

    def compared(name: str, found: list[str]) -> None:
        place = STORED / name
        if request.config.getoption("--regenerate-golden"):
            place.write_text("\n".join(found) + "\n", encoding="utf-8")
            pytest.skip(f"wrote {place.name}")
        stored = place.read_text(encoding="utf-8").splitlines()
        gone = [line for line in stored if line not in found]
        new = [line for line in found if line not in stored]
        assert found == stored, (
            f"{name} has changed for users: gone {gone}, new {new}. If that is meant, run "
            "`pytest tests/test_surface.py --regenerate-golden`, and describe the change in the "
            "changelog"
        )

    return compared


@pytest.fixture
def help_of(itrec: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The help text of a command, one line per option."""
    monkeypatch.setenv("COLUMNS", "10000")

    def text(*arguments: str) -> str:
        code, out, err = itrec(*arguments, "--help")
        assert code == 0, err
        return re.sub(r"\n {10,}", "  ", out)

    return text


def options(text: str) -> list[str]:
    """The options in a help text, sorted, each with its default unless that is false or null."""
    lines = []
    for name, description in OPTION.findall(text):
        note = re.search(r"\((?:[^()]*, )?(default: .*|required)\)$", description)
        lines.append(f"{name} ({note[1]})" if note else name)
    return sorted(lines)


def places(text: str) -> list[str]:
    """The arguments without dashes."""
    usage = re.match(r"usage: itrec [a-z ]+(.*)\[options\]", text)
    assert usage, text.partition("\n")[0]
    return usage[1].split()


def test_the_options_of_every_command(help_of, itrec, compare):
    listed = help_of().partition("commands:\n")[2].partition("\n\n")[0].splitlines()
    verbs = [line[2:16].rstrip() for line in listed]
    assert {"window", "train", "sweep", "report"} <= set(verbs)
    after = verbs.index("window") + 1
    verbs[after:after] = ["window ratings", "window --samples histories"]
    lines = []
    for verb in verbs:
        text = help_of(*verb.split())
        found = options(text)
        assert "--help" in found
        if verb == "train":
            found = [line for line in found if not line.startswith("--model.")]
        lines.append(" ".join(("itrec", verb, *places(text))))
        lines += [f"itrec {verb} {line}" for line in found if line != "--help"]
    known = itrec("train", "--model.kind", "?")[2].partition("there are: ")[2]
    known = known.partition(", or one of your own")[0].strip().split(", ")
    assert {"ite", "item2vec", "autorec"} <= set(known)
    for kind in known:
        found = options(help_of("train", "--model.kind", kind))
        own = [line for line in found if line.startswith("--model.")]
        assert "--model.kind (default: ite)" in own
        lines += [f"itrec train --model.kind {kind} {line}" for line in own]
    compare("options.txt", lines)


def test_options_are_read_out_of_a_help_text():
    text = """options:
  -h, --help   Show this.
  -k K, --k K  Items to list. (int, default: 10)
  --item ITEM  An item (or --title). (required)
  --json
  --loss {a,b}  The loss. (default: a)
  --sizes SIZES  Sizes (in MB). (list[int], default: [1, 2])
"""
    assert options(text) == [
        "--help", "--item (required)", "--json", "--k (default: 10)", "--loss (default: a)",
        "--sizes (default: [1, 2])",
    ]  # fmt: skip
    assert places("usage: itrec data get NAME {A,B} [options]\n") == ["NAME", "{A,B}"]


def files(folder: Path) -> list[str]:
    """Relative paths of all files of a folder, sorted."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    for pattern, shown in CHANGING:
        names = [pattern.sub(shown, name) for name in names]
    return sorted(names)


@pytest.fixture(scope="module")
def baselines(shards, tmp_path_factory, itrec):
    out = tmp_path_factory.mktemp("surface") / "baselines"
    code, _, err = itrec("baselines", "--shards", shards, "--out", out, "--only", "popularity")
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def swept(shards, tmp_path_factory, itrec):
    """One trial and its finals, reported."""
    out = tmp_path_factory.mktemp("surface") / "sweep"
    fixed = {**FIXED, "training.log_seconds": 0}
    final = {"candidates": 1, "seeds": 2}
    directory, _ = run_here(sweep_of(shards, out, trials=1, fixed=fixed, final=final))
    code, _, err = itrec("report", directory.path)
    assert code == 0, err
    return directory.path


@pytest.mark.parametrize("kind", ["shards", "rated_shards", "trained", "baselines", "swept"])
def test_the_files_left_behind(kind, request, compare):
    folder = request.getfixturevalue(kind)
    compare(f"files_{kind}.txt", files(folder))


def test_a_missing_or_added_file_is_seen(shards, tmp_path, compare, request):
    if request.config.getoption("--regenerate-golden"):
        pytest.skip("compares with what is stored")
    found = files(shards)
    with pytest.raises(AssertionError, match=r"gone \['items.parquet'\].*--regenerate-golden"):
        compare("files_shards.txt", [name for name in found if name != "items.parquet"])
    with pytest.raises(AssertionError, match=r"new \['stray'\].*changelog"):
        compare("files_shards.txt", [*found, "stray"])
