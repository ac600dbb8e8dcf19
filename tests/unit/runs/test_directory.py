import contextlib
import errno
import json
import os
import resource
import time

import pytest

from itrec_dist.errors import CheckpointError, OutputError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Recorder


def test_a_folder_that_no_run_wrote_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no run directory.*itrec train"):
        RunDirectory.existing(tmp_path)
    with pytest.raises(CheckpointError, match="absent"):
        RunDirectory.existing(tmp_path / "absent")
    (tmp_path / "config.yaml").write_text("{}")
    assert RunDirectory.existing(tmp_path).path == tmp_path


def test_a_run_is_complete_once_it_is_judged(tmp_path):
    run = RunDirectory(tmp_path)
    assert not run.is_complete
    run.write_json(run.evaluation, {"kind": "train"})
    assert run.is_complete
    assert run.read_json(run.evaluation) == {"kind": "train"}


def test_the_log_returns_events_in_order(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.events() == []
    before = time.time()
    run.append("start", name="ite", workers=2)
    run.append("progress", epoch=1, step=1, loss=0.1)
    run.append("progress", epoch=1, step=2, loss=None)
    assert [e["event"] for e in run.events()] == ["start", "progress", "progress"]
    assert [e["step"] for e in run.events("progress")] == [1, 2]
    assert run.events("progress")[1]["loss"] is None
    assert run.events("end") == []
    assert abs(run.events()[0]["time"] - before) < 60


def test_a_truncated_line_loses_only_that_line(tmp_path):
    run = RunDirectory(tmp_path)
    run.append("progress", step=1)
    with run.log.open("a") as file:
        file.write('{"event": "progress", "ti')
    assert [e["step"] for e in run.events("progress")] == [1]


def test_what_is_appended_after_a_truncated_line_is_not_lost(tmp_path):
    run = RunDirectory(tmp_path)
    run.append("progress", step=1)
    with run.log.open("a") as file:
        file.write('{"event": "progress", "ti')
    run.append("progress", step=2)
    assert [e["step"] for e in run.events("progress")] == [1, 2]


def test_every_line_is_json_whatever_its_content(tmp_path):
    run = RunDirectory(tmp_path)
    message = "line one\nline two\u2028Amélie"
    run.append("note", message=message)
    run.append("note", message="next")
    lines = run.log.read_bytes().split(b"\n")
    assert [json.loads(line)["message"] for line in lines if line] == [message, "next"]
    assert [e["message"] for e in run.events()] == [message, "next"]


def test_a_diverged_loss_leaves_a_log_that_is_still_json(tmp_path):
    run = RunDirectory(tmp_path)
    run.append("progress", loss=float("nan"))

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    json.loads(run.log.read_text(), parse_constant=refuse)
    assert run.events("progress")[0]["loss"] is None


@pytest.mark.parametrize("content", [None, "{", "\udcff"])
def test_a_file_that_is_missing_or_damaged_is_one_sentence(tmp_path, content):
    run = RunDirectory(tmp_path)
    if content is not None:
        run.evaluation.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        run.read_json(run.evaluation)


@contextlib.contextmanager
def disk_of(size):
    """Files may not grow beyond a limit: the system refuses to write, within a line if need be."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:  # at once: what the tests print may go to a longer file
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_disk_that_is_full_leaves_the_log_as_it_was(room, tmp_path):
    run = RunDirectory(tmp_path)
    run.append("progress", step=1)
    before = run.log.read_bytes()
    with (
        disk_of(len(before) + room),
        pytest.raises(OutputError, match=r"cannot write .*log\.jsonl") as refused,
    ):
        run.append("note", message="longer than the room that there is")
    assert os.strerror(errno.EFBIG) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert run.log.read_bytes() == before


def test_a_log_that_cannot_be_opened_is_one_sentence(tmp_path):
    run = RunDirectory(tmp_path)
    run.log.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*log\.jsonl"):
        run.append("start")


# The board's own thread dies of it, in the open; what counts is that the run ends in a sentence.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unwritable_tensorboard_gives_one_sentence(tmp_path):
    recorder = Recorder(RunDirectory(tmp_path))
    epoch = {"epoch": 1, "loss": 1.0, "train": None, "validation": None}
    recorder.epoch(**epoch)
    (board,) = (tmp_path / "tensorboard").iterdir()
    room = max(board.stat().st_size, (tmp_path / "log.jsonl").stat().st_size + 4000)
    with disk_of(room), pytest.raises(OutputError, match=r"cannot write .*tensorboard"):
        for at in range(2, 400):
            recorder._scalar("loss", 0.5, at)
            recorder._flush()
