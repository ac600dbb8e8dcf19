"""Ranges of workers that are possible, and what a failed worker comes to in one sentence."""

from dataclasses import replace

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerHealthCheckFailedError,
)

from itrec_dist.errors import (
    ConfigError,
    EnvironmentProblem,
    MachineError,
    ShardsError,
    TrainingError,
)
from itrec_dist.launch.failures import describe, readable
from itrec_dist.training.config import ClusterConfig, check
from tests.stopped_runs import config_of, make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("survival") / "shards")


# ---------------------------------------------------------------------------- a range of workers


@pytest.mark.parametrize(
    ("least", "most", "sizes", "told"),
    [
        (None, 3, (28, 840), r"training.batch_size=28 .* by 3 .*: choose a multiple of 6$"),
        (1, 2, (24, 840), None),
        (2, 4, (24, 24), None),
        (3, 6, (24, 120), r"training.batch_size=24 .* by 5 workers .* multiple of 120 or"),
        (2, 7, (24, 840), r"training.batch_size=24 .* by 5 or 7 workers with engine.accumulate=2"),
        (1, 3, (24, 8), r"evaluation.batch_size=8 .* by 3 workers: .* multiple of 6 or"),
    ],
)
def test_every_number_of_workers_in_the_range_has_to_share_a_batch(
    least, most, sizes, told, data, tmp_path
):
    run = config_of(
        data, tmp_path / "run",
        training={"batch_size": sizes[0]}, evaluation={"batch_size": sizes[1]},
        cluster={"num_workers": most, "min_workers": least},
    )  # fmt: skip
    if told is None:
        check(run, most)
        return
    with pytest.raises(ConfigError, match=told) as refusal:
        check(run, most)
    assert "\n" not in str(refusal.value)


def test_one_process_is_not_held_to_the_range(data, tmp_path):
    run = config_of(data, tmp_path / "run", cluster={"num_workers": 7, "min_workers": 5})
    check(run, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"min_workers": 0}, r"min_workers=0 must be from 1 to cluster.num_workers=4"),
        ({"min_workers": 5}, r"min_workers=5 must be from 1 to cluster.num_workers=4"),
        ({"max_failures": -1}, "at least 0"),
        ({"wait_seconds": -1.0}, "at least 0"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(changes, told):
    with pytest.raises(ValueError, match=told):
        replace(ClusterConfig(num_workers=4), **changes)


# ---------------------------------------------------------------------------- why workers failed

PEER = RuntimeError("Connection closed by peer [127.0.0.1]:5000\n  at some line")


def died(
    text="The actor is dead because its worker process has died. The node is up.", preempted=False
):
    return WorkerHealthCheckFailedError(
        "A worker health check failed", RayActorError(None, text, preempted=preempted)
    )


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ({0: PEER, 1: died()}, "worker 1 was lost (its process was killed)"),
        ({0: ShardsError("gone"), 1: died()}, "worker 1 was lost (its process was killed)"),
        (
            {2: died("The actor died because its node has died. Node Id: 1f"), 0: PEER},
            "worker 2 was lost (its node was lost)",
        ),
        (
            {1: died(), 3: died(), 0: PEER, 2: died()},
            "workers 1, 2 and 3 were lost (its process was killed)",
        ),
        ({1: died(preempted=True)}, "worker 1 was lost (its node was preempted)"),
        (
            {1: UserExceptionWithTraceback(PEER, "trace")},
            "worker 1 failed (RuntimeError: Connection closed by peer [127.0.0.1]:5000 at some "
            "line)",
        ),
    ],
)
def test_the_cause_is_told_and_not_what_followed_from_it(failures, told):
    failure = describe(failures)
    assert failure.mistake is None
    assert failure.reason == told


def test_a_mistake_of_the_user_is_found_inside_the_wrappers():
    mistake = ShardsError("a part is missing")
    wrapped = RuntimeError("task failed")
    wrapped.__cause__ = mistake
    assert describe({1: wrapped, 0: PEER}).mistake is mistake
    assert readable(ControllerError(mistake), 3, "") is mistake
    assert readable(WorkerGroupError("", {1: wrapped}), 3, "") is mistake
    gave_up = EnvironmentProblem("no room")
    assert readable(ControllerError(gave_up), 3, "") is gave_up


def test_restarts_that_are_used_up_are_told_with_the_last_cause():
    told = readable(WorkerGroupError("", {0: PEER, 1: died()}), 3, ": --resume continues")
    assert isinstance(told, MachineError)
    assert str(told) == (
        "worker 1 was lost (its process was killed) and all 3 restarts (cluster.max_failures) are "
        "used up: --resume continues"
    )
    once = readable(WorkerGroupError("", {1: died()}), 0, "")
    assert str(once) == "worker 1 was lost (its process was killed)"


@pytest.mark.parametrize(
    ("error", "of_machine"),
    [
        (OSError(5, "Input/output error"), True),
        (MemoryError("7 GB"), True),
        (RuntimeError("shape mismatch"), False),
        (TrainingError("the loss is not finite"), False),
    ],
)
def test_what_the_machine_failed_is_told_from_what_the_run_failed(error, of_machine):
    group = WorkerGroupError("", {1: UserExceptionWithTraceback(error, "trace")})
    found = readable(group, 3, "")
    assert isinstance(found, TrainingError)
    assert isinstance(found, MachineError) is of_machine


class Heard:
    """Takes messages as the cluster's store does."""

    def __init__(self):
        self.told = []

    def send(self, kind, **fields):
        self.told.append((kind, fields))


def test_a_mistake_ends_the_run_at_once_and_a_loss_does_not():
    from itrec_dist.launch.restarts import ReportFailures

    heard = Heard()
    with pytest.raises(ShardsError, match="gone"):  # Ray Train does not retry what this raises
        ReportFailures(heard).after_exception(None, {0: ShardsError("gone")})
    assert heard.told == []
    ReportFailures(heard).after_exception(None, {0: PEER, 1: died()})
    assert heard.told == [("failure", {"reason": "worker 1 was lost (its process was killed)"})]


def test_patience_ends_when_there_is_no_room_for_too_long(monkeypatch):
    from itrec_dist.launch import restarts

    now = [100.0]
    monkeypatch.setattr(restarts.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(restarts.time, "sleep", lambda _: None)
    states = {n: type(n, (), {})() for n in ("RunningState", "SchedulingState", "RestartingState")}
    heard = Heard()
    waiting = restarts.WaitForNodes(heard, 30.0)

    def at(seconds, before, after):
        now[0] = 100.0 + seconds
        waiting.after_controller_state_update(states[before], states[after])

    at(0, "RunningState", "SchedulingState")
    at(29, "SchedulingState", "RunningState")
    at(40, "RunningState", "RestartingState")
    at(69, "RestartingState", "RestartingState")
    at(70, "RestartingState", "RestartingState")
    assert heard.told == [("waiting", {"seconds": 30.0})]
    with pytest.raises(EnvironmentProblem, match=r"no room for the workers for 31 s \(cluster"):
        at(71, "RestartingState", "SchedulingState")
