import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from itrec_dist.errors import OutputError
from itrec_dist.storage import atomic

MARKER = "manifest.json"


def fill(folder: Path, content: str = "new") -> None:
    (folder / MARKER).write_text("{}")
    (folder / "content").write_text(content)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_appears_whole_and_only_at_the_end(tmp_path):
    place = tmp_path / "deep" / "out"
    with atomic.new_directory(place, marker=MARKER) as building:
        fill(building)
        assert building.parent == place.parent  # the same disk, so that a rename is one step
        assert not place.exists()
    assert names(place) == {MARKER, "content"}
    assert names(place.parent) == {"out"}


def test_a_failure_leaves_nothing_behind(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        atomic.new_directory(tmp_path / "out", marker=MARKER) as b,
    ):
        fill(b)
        1 / 0  # noqa: B018
    assert names(tmp_path) == set()


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_while_replacing_leaves_the_old_folder_as_it_was(tmp_path, interruption):
    place = tmp_path / "out"
    place.mkdir()
    fill(place, "old")
    (place / "extra").write_text("kept")
    with (
        pytest.raises(interruption),
        atomic.new_directory(place, marker=MARKER, overwrite=True) as building,
    ):
        fill(building)
        raise interruption
    assert (place / "content").read_text() == "old"
    assert names(place) == {MARKER, "content", "extra"}
    assert names(tmp_path) == {"out"}


def test_a_finished_folder_is_refused_before_any_work(tmp_path):
    fill(tmp_path)
    with (
        pytest.raises(OutputError, match=r"already exists.*--overwrite"),
        atomic.new_directory(tmp_path, marker=MARKER),
    ):
        pytest.fail("the block must not run")


def test_overwrite_replaces_the_whole_folder(tmp_path):
    place = tmp_path / "out"
    place.mkdir()
    fill(place, "old")
    (place / "stale").write_text("from an earlier, larger run")
    with atomic.new_directory(place, marker=MARKER, overwrite=True) as building:
        fill(building)
    assert names(place) == {MARKER, "content"}
    assert (place / "content").read_text() == "new"
    assert names(tmp_path) == {"out"}


def test_overwrite_never_replaces_what_something_else_made(tmp_path):
    place = tmp_path / "thesis"
    place.mkdir()
    (place / "chapter1.tex").write_text("years of work")
    with (
        pytest.raises(OutputError, match=f"holds no {MARKER}"),
        atomic.new_directory(place, marker=MARKER, overwrite=True),
    ):
        pytest.fail("the block must not run")
    assert names(place) == {"chapter1.tex"}


def test_an_empty_folder_may_be_filled(tmp_path):
    place = tmp_path / "out"
    place.mkdir()
    with atomic.new_directory(place, marker=MARKER) as building:
        fill(building)
    assert names(place) == {MARKER, "content"}
    assert names(tmp_path) == {"out"}


def test_a_file_in_the_way_is_refused(tmp_path):
    place = tmp_path / "out"
    place.write_text("mine")
    with (
        pytest.raises(OutputError, match="is a file"),
        atomic.new_directory(place, marker=MARKER, overwrite=True),
    ):
        pytest.fail("the block must not run")
    assert place.read_text() == "mine"


def test_a_place_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write"),
        atomic.new_directory(tmp_path / "file" / "out", marker=MARKER),
    ):
        pytest.fail("the block must not run")


def test_the_folder_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic.new_directory(tmp_path / "out", marker=MARKER) as building:
            fill(building)
        atomic.write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_an_interrupted_process_leaves_nothing_behind(tmp_path):
    program = (
        "import time, pathlib; from itrec_dist.storage import atomic\n"
        f"with atomic.new_directory(pathlib.Path({str(tmp_path / 'out')!r}), marker='m') as b:\n"
        "    (b / 'half').write_text('written'); print('inside', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        assert len(names(tmp_path)) == 1
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=30)
    assert time.monotonic() - started < 30
    assert names(tmp_path) == set()


def test_json_is_replaced_in_one_step_and_a_refused_value_costs_nothing(tmp_path):
    path = tmp_path / "new" / "evaluation.json"
    atomic.write_json(path, {"title": "Amélie", "value": 0.5})
    assert json.loads(path.read_text(encoding="utf-8")) == {"title": "Amélie", "value": 0.5}
    assert "Amélie" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(path, {"value": math.nan})
    assert json.loads(path.read_text(encoding="utf-8"))["value"] == 0.5
    assert names(path.parent) == {"evaluation.json"}


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        atomic.write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == {"taken"}


def test_a_file_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        atomic.write_text(tmp_path / "file" / "below", "text")


def test_an_input_that_is_missing_is_not_taken_for_an_output_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"ratings\.dat"),
        atomic.new_directory(tmp_path / "out", marker=MARKER),
    ):
        (tmp_path / "ratings.dat").read_text()
    with (
        pytest.raises(OutputError, match=r"cannot write .*out: No such file"),
        atomic.new_directory(tmp_path / "out", marker=MARKER) as building,
    ):
        (building / "absent" / "file").write_text("x")
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic.new_directory(tmp_path / "out", marker=MARKER),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == set()


def test_an_interruption_in_the_last_step_brings_the_old_folder_back(tmp_path, monkeypatch):
    place = tmp_path / "out"
    place.mkdir()
    fill(place, "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if Path(target) == place and not target.exists() and (self / "content").exists():
            monkeypatch.undo()
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        atomic.new_directory(place, marker=MARKER, overwrite=True) as building,
    ):
        fill(building)
    assert (place / "content").read_text() == "old"
    assert names(tmp_path) == {"out"}


def test_a_place_named_through_its_parent_is_the_same_place(tmp_path, monkeypatch):
    inner = tmp_path / "out" / "inner"
    inner.mkdir(parents=True)
    fill(tmp_path / "out", "old")
    monkeypatch.chdir(tmp_path)
    with atomic.new_directory(Path("out/inner/.."), marker=MARKER, overwrite=True) as building:
        fill(building)
    assert names(tmp_path / "out") == {MARKER, "content"}
    assert names(tmp_path) == {"out"}


def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "top.parquet"
    with atomic.new_file(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(KeyboardInterrupt), atomic.new_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError, match="input"), atomic.new_file(path):
        (tmp_path / "input").read_bytes()
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == {"top.parquet"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_an_atomic_step(number):
    def handler(number, frame):
        raise InterruptedError

    before = signal.signal(number, handler)
    done = []
    try:
        with pytest.raises(InterruptedError), atomic.uninterrupted():
            signal.raise_signal(number)
            done.append("the rest of the step")
        assert done
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_without_an_interruption_nothing_is_raised():
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with atomic.uninterrupted(), atomic.uninterrupted():
        pass
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_cleaning_up_leaves_folders_of_longer_names_alone(tmp_path):
    place = tmp_path / "run"
    own = ".run.abcd_123 .run.old.abcd_123 .run.gone.77".split()
    others = ".run.2.abcd_123 .run.2.old.abcd_123 .run.old.being_ab .run .runs.abcd_123".split()
    for name in (*own, *others):
        (tmp_path / name).mkdir()
    fill(tmp_path / ".run.old.being_ab")  # a new run.old
    (tmp_path / ".run.old.abcd_123" / "run").mkdir()
    fill(tmp_path / ".run.old.abcd_123" / "run", "old")
    atomic.finish_interrupted(place)
    assert names(tmp_path) == {"run", *others}
    assert (place / "content").read_text() == "old"
    atomic.finish_interrupted(tmp_path / "absent" / "run")
