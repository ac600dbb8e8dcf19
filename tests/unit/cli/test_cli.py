import errno
import importlib.metadata
import os
import subprocess
import sys

import pytest

import itrec_dist
from itrec_dist.cli import app
from itrec_dist.errors import DataError


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "itrec_dist", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_the_overview_names_every_verb(arguments, capsys):
    assert app.main(arguments) == 0
    shown = capsys.readouterr().out
    for verb, (_, line) in app.VERBS.items():
        assert f"{verb} " in shown
        assert line in shown


def test_a_misspelled_command_is_answered_with_the_one_that_is_meant(capsys):
    assert app.main(["widnow", "--out", "x"]) == 2
    assert "no command 'widnow' (did you mean window?); there are: " in capsys.readouterr().err


def test_the_overview_imports_nothing_heavy():
    program = (
        "import sys; from itrec_dist.cli.app import main; main(['--help']); "
        "sys.exit(bool({'torch', 'ray', 'duckdb', 'pyarrow', 'jsonargparse'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_version_is_the_packages(capsys):
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"itrec {itrec_dist.__version__}\n"


def test_the_installed_version_is_the_packages():
    try:
        installed = importlib.metadata.version("itrec-dist")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("itrec-dist runs from a checkout that is not installed")
    assert installed == itrec_dist.__version__


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verbs_help_reads_well(verb, capsys):
    with pytest.raises(SystemExit) as left:
        app.main([*verb.split(), "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: itrec {verb} ")
    assert "usage: itrec" not in shown[1:]
    assert "==SUPPRESS==" not in shown
    assert "itrec_dist." not in shown  # a type's import path is no word for a user


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_refuses_an_option_it_does_not_know(verb, capsys):
    assert app.main([*verb.split(), "--no-such-option=1"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("itrec: error: ")
    assert "no_such_option" in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "given"),
    [(["trian"], "'trian'"), (["data", "bake"], "'data bake'"), (["--trian"], "'--trian'")],
)
def test_an_unknown_command_is_one_sentence_that_names_those_there_are(arguments, given, capsys):
    assert app.main(arguments) == 2
    told = capsys.readouterr().err
    assert given in told
    assert all(verb in told for verb in app.VERBS)
    assert told.count("\n") == 1


@pytest.mark.parametrize(("rest", "code"), [([], 2), (["--help"], 0), (["-h"], 0)])
def test_a_group_shows_its_own_verbs(rest, code, capsys):
    assert app.main(["data", *rest]) == code
    told = capsys.readouterr()
    shown = told.out + told.err
    assert "data get" in shown
    assert "data make" in shown
    assert "  recommend" not in shown


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("row 3 of ratings.dat has 2 fields"), 2, "error: row 3 of ratings.dat"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left", "runs/a/log.jsonl"), 2, "log.jsonl: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), 2, "a.csv: Permission"),
    ],
)
def test_what_ends_a_verb_becomes_one_line_and_a_code(monkeypatch, capsys, error, code, said):
    def broken(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(app, "_dispatch", broken)
    assert app.main(["train"]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_defect_of_our_own_keeps_its_traceback(monkeypatch):
    def broken(arguments: list[str]) -> int:
        raise AssertionError("an invariant")

    monkeypatch.setattr(app, "_dispatch", broken)
    with pytest.raises(AssertionError):
        app.main(["train"])


def test_the_module_is_the_command():
    assert run("--version").stdout == f"itrec {itrec_dist.__version__}\n"
    failed = run("trian")
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m itrec_dist --help | true; exit ${{PIPESTATUS[0]}}"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for environment in (buffered, buffered | {"PYTHONUNBUFFERED": "1"}):
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60,
            env=environment,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
