import io
import json
import math
import threading
import time

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from itrec_dist.runs.console import LogFollower, ProgressView
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Recorder

FIGURES = {"precision@5": 0.125, "hit_rate@5": 0.5}
JUDGED = {"loss": 2.5, "num_windows": 9, "unmasked": FIGURES, "masked": dict.fromkeys(FIGURES, 0.0)}
START = {
    "name": "ITE bce both", "num_parameters": 12345, "workers": 2, "epochs": 3,
    "steps_per_epoch": 10, "batch_size": 64,
}  # fmt: skip
PROGRESS = {
    "epoch": 1, "step": 4, "loss": 3.5, "windows_per_second": 1000.0, "learning_rate": 0.01,
    "grad_norm": None,
}  # fmt: skip
EPOCH = {
    "epoch": 1, "step": 10, "seconds": 2.0, "windows_per_second": 1234.5, "loss": 3.25,
    "train": None, "validation": JUDGED, "is_best": True,
}  # fmt: skip
END = {"reason": "finished", "best_epoch": 1, "seconds": 12.3}


def shown(*events, **console):
    """What a person reads of some events."""
    out = io.StringIO()
    settings = {"file": out, "soft_wrap": True, "highlight": False, "markup": False, **console}
    view = ProgressView(Console(**settings))
    for event in events:
        view(event)
    view.close()
    return out.getvalue()


def as_events():
    named = (("start", START), ("progress", PROGRESS), ("epoch", EPOCH), ("end", END))
    return [{"event": name, **fields} for name, fields in named]


# ---------------------------------------------------------------------------- the view


def test_plain_lines_where_there_is_no_terminal():
    assert shown(*as_events()).splitlines() == [
        "ITE bce both: 12,345 parameters, 2 workers, 3 epochs of 10 steps of 64 windows",
        "epoch   1/3  loss   3.2500      1,234 windows/s  unmasked P@5 0.1250 HR@5 0.5000"
        "  masked P@5 0.0000 HR@5 0.0000  best",
        "finished after 12 s, best epoch 1",
    ]


def test_a_terminal_shows_a_bar_and_removes_it():
    text = shown(*as_events(), force_terminal=True, width=200)
    assert "epoch 1/3" in text
    assert "4/30" in text
    assert "loss 3.5000  1,000 windows/s" in text
    assert "finished after 12 s" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert "ITE bce both" in text


@pytest.mark.parametrize("first", [0, 20])
def test_the_bar_estimates_the_time_left_from_the_steps_of_this_process(first, monkeypatch):
    """A resumed run starts in the middle: the steps before it took no time here."""
    now = [100.0]
    view = ProgressView(Console(file=io.StringIO(), force_terminal=True, width=200))
    view({"event": "start", **START})
    view._progress.get_time = lambda: now[0]
    left = []
    for step in range(first + 1, first + 6):
        now[0] += 2.0
        view({"event": "progress", **PROGRESS, "step": step})
        left.append(view._progress.tasks[0].time_remaining)
    view.close()
    assert left[-1] == pytest.approx(2 * (30 - first - 5))


def test_workers_that_start_again_start_another_bar():
    events = as_events()
    restarted = {"event": "restart", "message": "worker 1 was lost"}
    again = [events[0], restarted, {**events[1], "step": 2}, *events[2:]]
    text = shown(*events[:2], *again, force_terminal=True, width=200)
    assert "4/30" in text
    assert "2/30" in text
    assert "worker 1 was lost" in text


def test_an_epoch_without_validation_and_a_note():
    text = shown(
        {"event": "start", **START, "workers": 1},
        {"event": "epoch", **EPOCH, "validation": None, "is_best": False},
        {"event": "note", "message": "something to know"},
        {"event": "of a later version", "what": 1},
    )
    assert "1 worker," in text
    assert text.splitlines()[1:] == [
        "epoch   1/3  loss   3.2500      1,234 windows/s", "something to know",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["[bold] run", "run [/]", "a :smile: run"])
def test_a_name_is_shown_as_it_is(name, capsys):
    view = ProgressView()
    view({"event": "start", **START, "name": name})
    view.close()
    assert capsys.readouterr().out.startswith(f"{name}: 12,345 parameters")


# ---------------------------------------------------------------------------- the follower


class Seen:
    """A view that notes what it is shown; `wait_for` waits for a number of events."""

    def __init__(self):
        self.events, self.closed = [], False
        self._news = threading.Condition()

    def __call__(self, event):
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def close(self):
        self.closed = True

    def wait_for(self, count):
        with self._news:
            assert self._news.wait_for(lambda: len(self.events) >= count, timeout=10)
        return self.events


def test_the_follower_shows_lines_of_another_process(tmp_path):
    run, seen = RunDirectory(tmp_path), Seen()
    follower = LogFollower(run.log, seen, interval=0.01)
    follower.start()  # before there is a log

    def write():
        for step in range(50):
            run.append("progress", step=step)
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    assert seen.wait_for(1)[0]["step"] == 0
    writer.join()
    run.append("end")
    follower.finish()
    assert [event.get("step") for event in seen.events] == [*range(50), None]
    assert seen.closed
    assert not follower.is_alive()


def test_a_line_is_shown_once_it_is_complete(tmp_path):
    log, seen = tmp_path / "log.jsonl", Seen()
    log.write_bytes(b'{"event": "one"}\n{"event": "t')
    follower = LogFollower(log, seen, interval=0.01)
    follower.start()
    seen.wait_for(1)
    time.sleep(0.05)
    assert [event["event"] for event in seen.events] == ["one"]
    with log.open("ab") as file:
        file.write(b'wo"}\n')
    seen.wait_for(2)
    follower.finish()
    assert [event["event"] for event in seen.events] == ["one", "two"]


def test_a_line_truncated_by_a_crash_is_skipped(tmp_path):
    run, seen = RunDirectory(tmp_path), Seen()
    run.append("one")
    with run.log.open("ab") as file:
        file.write(b'{"event": "lo')
    run.append("two")  # by the worker that was started anew
    follower = LogFollower(run.log, seen, interval=0.01)
    follower.start()
    follower.finish()
    assert [event["event"] for event in seen.events] == ["one", "two"]


def test_a_truncated_last_line_is_skipped(tmp_path):
    log, seen = tmp_path / "log.jsonl", Seen()
    log.write_bytes(b'{"event": "one"}\n{"event": "t')
    follower = LogFollower(log, seen, interval=0.01)
    follower.start()
    follower.finish()
    assert [event["event"] for event in seen.events] == ["one"]


# ---------------------------------------------------------------------------- the recorder


def record(recorder):
    recorder.start(**START)
    recorder.progress(**PROGRESS)
    recorder.epoch(**EPOCH)
    recorder.end(**END)


def test_log_tensorboard_and_watcher_hold_the_same(tmp_path):
    run, watched = RunDirectory(tmp_path), []
    record(Recorder(run, watched.append))
    assert watched == as_events()
    logged = run.events()
    assert [{k: v for k, v in e.items() if k != "time"} for e in logged] == as_events()
    board = EventAccumulator(str(run.tensorboard))
    board.Reload()
    scalars = {
        tag: [(point.step, point.value) for point in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }
    assert scalars == {
        "step/loss": [(4, 3.5)], "step/windows_per_second": [(4, 1000.0)],
        "step/learning_rate": [(4, pytest.approx(0.01))], "epoch/loss": [(1, 3.25)],
        "validation/loss": [(1, 2.5)],
        "validation/unmasked/precision@5": [(1, 0.125)],
        "validation/unmasked/hit_rate@5": [(1, 0.5)],
        "validation/masked/precision@5": [(1, 0.0)],
        "validation/masked/hit_rate@5": [(1, 0.0)],
    }  # fmt: skip


def test_other_workers_record_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watched = []
    record(Recorder(None, watched.append))
    assert watched == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_logged_can_be_shown(tmp_path):
    """A log is JSON, and every line of it is one that the view takes."""
    run = RunDirectory(tmp_path)
    record(Recorder(run))
    assert shown(*run.events()) == shown(*as_events())


def test_a_number_that_is_not_finite_is_null_in_the_log(tmp_path):
    run = RunDirectory(tmp_path)
    Recorder(run).progress(**{**PROGRESS, "grad_norm": math.inf})
    (line,) = run.log.read_text().splitlines()
    assert json.loads(line)["grad_norm"] is None
