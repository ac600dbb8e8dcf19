"""Trains one run on the cluster: starts, follows, restarts and ends its workers."""

import atexit
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from itrec_dist.distributed.context import RayContext
from itrec_dist.errors import CheckpointError, EnvironmentProblem
from itrec_dist.launch.cluster import own_signals, refuse_full
from itrec_dist.launch.failures import readable
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.console import LogFollower, ProgressView
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage.uri import Uri
from itrec_dist.training.config import RunConfig
from itrec_dist.training.worker import Restart, run_worker

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

    from itrec_dist.launch.epochs import EpochQuestions, OnEpoch
    from itrec_dist.launch.restarts import LaunchMessages

_SCRATCH = "ray"  # Ray Train's own files during a run; results are in the run directory
_ABORT_SECONDS = 10.0
_KILL_SECONDS = 5.0
_DELETE_SECONDS = 3.0
_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def launch(
    run: RunConfig, use_gpu: bool, view: ProgressView | None = None, *, resume: bool = False,
    on_epoch: "OnEpoch | None" = None,
) -> None:  # fmt: skip
    """Train on the Ray cluster that `connect` joined, in a prepared run directory.

    The run directory must be reachable under the same path from this machine and from worker 0.
    `view` shows the log, on standard output if it is None. With `resume`, existing lines of the log
    are not shown. If workers are lost, all are restarted from the checkpoint `last`, up to
    `cluster.max_failures` times. `on_epoch` is told every epoch while the workers wait; what it
    raises ends the run in order after that epoch, and is raised here once the workers have ended.

    Raises:
        ItrecError: a worker raised a user error.
        TrainingError: workers failed too often; the message describes the last failure.
        EnvironmentProblem: the cluster lacked room for the workers for too long.
    """
    from itrec_dist.launch.epochs import EpochAnswers
    from itrec_dist.launch.restarts import LaunchMessages, MessagePrinter

    view = view or ProgressView()
    mirror = Mirror(run.out, run.folder) if isinstance(run.out, Uri) else None
    _clear_scratch(run, mirror)  # left over by a driver that was killed
    directory, messages = RunDirectory(run.folder), LaunchMessages()
    answers = EpochAnswers(on_epoch) if on_epoch else None
    trainer = _trainer(run, use_gpu, messages, answers.questions if answers else None)
    log, pace = (mirror.log_after, 5.0) if mirror else (directory.log, 0.5)
    follower = LogFollower(log, view, pace, from_end=resume)
    printer = MessagePrinter(messages, view)
    threads: list[MessagePrinter | LogFollower | EpochAnswers] = [printer, follower]
    if answers is not None:
        threads.append(answers)
    for thread in threads:
        thread.start()
    received: list[int] = []
    try:
        with own_signals(), _record_sigterm(received), _start_timeout(run.cluster.wait_seconds):
            trainer.fit()
    except Exception as error:
        raise readable(error, run.cluster.max_failures, _resume_hint(directory, mirror)) from error
    except KeyboardInterrupt:
        _end_workers(trainer)
        _note_interruption(directory, mirror)
        if received[:1] == [signal.SIGTERM]:
            signal.raise_signal(signal.SIGTERM)  # for the handler of the command line
        raise
    finally:
        for thread in threads:
            thread.finish()
        _call_within(_DELETE_SECONDS, messages.delete)
        _clear_scratch(run, mirror)
    if answers is not None and answers.error is not None:
        raise answers.error


def _clear_scratch(run: RunConfig, mirror: Mirror | None) -> None:
    if mirror is None:
        shutil.rmtree(run.folder / _SCRATCH, ignore_errors=True)
        return
    with contextlib.suppress(EnvironmentProblem):
        mirror.store.remove(_SCRATCH)


def _trainer(
    run: RunConfig, use_gpu: bool, messages: "LaunchMessages", questions: "EpochQuestions | None"
) -> "TorchTrainer":
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from itrec_dist.launch.restarts import ReportFailures, WaitForNodes

    class InterruptibleTrainer(TorchTrainer):
        """Leaves signal handlers alone and keeps the controller, to be able to end it."""

        controller: Any = None

        def _register_sigint_handler(self, controller: Any) -> None:
            # The base class's handler exits with code 0 or 1 and does not handle SIGTERM.
            self.controller = controller

    storage_path = str(run.out if isinstance(run.out, Uri) else run.folder.absolute())
    train: Any = ray.train  # its annotations are out of date
    cluster = run.cluster
    workers: int | tuple[int, int] = cluster.num_workers
    if cluster.min_workers is not None:
        workers = (cluster.min_workers, cluster.num_workers)
    return InterruptibleTrainer(
        _worker,
        train_loop_config={"run": run, "messages": messages, "questions": questions},
        scaling_config=train.ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, "GPU": int(use_gpu)},
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=train.RunConfig(
            name=_SCRATCH, storage_path=storage_path,
            failure_config=train.FailureConfig(max_failures=cluster.max_failures),
            callbacks=[
                ReportFailures(messages), WaitForNodes(messages, cluster.wait_seconds),
            ],
        ),
    )  # fmt: skip


def _worker(settings: dict[str, Any]) -> None:
    from itrec_dist.launch.epochs import AskingContext, NoFurtherEpoch

    run: RunConfig = settings["run"]
    questions, threads = settings["questions"], run.cluster.threads
    context = AskingContext(questions, threads) if questions else RayContext(threads)
    refuse_full(run, context.world_size)
    restart = _restart(settings["messages"]) if context.rank == 0 else None
    if isinstance(context, AskingContext) and context.is_over(run):
        return
    with contextlib.suppress(NoFurtherEpoch):
        run_worker(run, context, restart=restart)


def _restart(launch_messages: "LaunchMessages") -> Restart | None:
    """Why the previous workers ended; None if these are the first of this launch."""
    messages = launch_messages.read()
    starts = [number for number, message in enumerate(messages) if message["kind"] == "start"]
    launch_messages.send("start")
    if not starts:
        return None
    failures = [m for m in messages[starts[-1] :] if m["kind"] == "failure"]
    if not failures:  # Ray Train restarted them by itself, to use more of the cluster
        return Restart("the cluster has room for another number of workers", None)
    return Restart(failures[0]["reason"], failures[0]["time"])


def _end_workers(trainer: Any) -> None:
    """Shut down the workers of an interrupted run in order, which only the controller can do."""
    if trainer.controller is not None:
        _call_within(_ABORT_SECONDS + _KILL_SECONDS, lambda: _abort(trainer.controller))


def _call_within(seconds: float, act: Callable[[], None]) -> None:
    """Call `act`, which needs the cluster, and abandon it if it takes longer.

    A signal to the whole process group, as sent by Slurm and `timeout`, has already ended the
    processes of a local cluster: every call to it then blocks until Ray ends this process.
    """
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        import ray

        atexit.unregister(ray.shutdown)  # it would block as well


def _abort(controller: Any) -> None:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        ray.get(controller.abort.remote(), timeout=_ABORT_SECONDS)
    except GetTimeoutError:  # it is waiting for nodes; its workers die with it
        ray.kill(controller)
    except RayError:
        pass  # it has ended, as intended


def _resume_hint(run: RunDirectory, mirror: Mirror | None) -> str:
    step = None
    with contextlib.suppress(CheckpointError, EnvironmentProblem):
        if mirror is None:
            step = training_state.read(run.checkpoints / LAST).position.step
        else:
            step = next((c.step for c in mirror.checkpoints() if c.kind == LAST), None)
    if step is None:
        return ": no checkpoint was written yet, start again with --overwrite"
    return f": --resume continues from checkpoints/last, step {step}"


@contextlib.contextmanager
def _record_sigterm(received: list[int]) -> Iterator[None]:
    """Record SIGTERM: while Ray waits, it turns any handler's exception into KeyboardInterrupt."""
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def record(number: int, frame: FrameType | None) -> None:
        received.append(number)
        handler(number, frame)

    signal.signal(signal.SIGTERM, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _start_timeout(seconds: float) -> Iterator[None]:
    """Limit how long Ray Train waits for workers to start: it does not react meanwhile."""
    preset = os.environ.get(_START_TIMEOUT)
    if preset is None:
        os.environ[_START_TIMEOUT] = f"{max(1.0, min(20.0, seconds / 2)):g}"
    try:
        yield
    finally:
        if preset is None:
            del os.environ[_START_TIMEOUT]


def _note_interruption(run: RunDirectory, mirror: Mirror | None) -> None:
    """Write the end of the log, because Ray ended the worker before it could."""
    if mirror is not None:
        with contextlib.suppress(EnvironmentProblem):
            mirror.fetch_files()
    marks = [event for event in run.events() if event["event"] in ("start", "end")]
    if marks and marks[-1]["event"] == "start":  # a resumed run has several starts and ends
        epochs = run.events("epoch")
        best = max((e["epoch"] for e in epochs if e["is_best"]), default=0)
        skipped = sum({e["epoch"]: e.get("skipped", 0) for e in epochs}.values())
        seconds = round(time.time() - marks[-1]["time"], 1)
        run.append("end", reason="interrupted", best_epoch=best, skipped=skipped, seconds=seconds)
    if mirror is not None:
        with contextlib.suppress(EnvironmentProblem):
            mirror.send_files()
