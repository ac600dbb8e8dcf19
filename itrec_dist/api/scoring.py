"""What `itrec recommend --workers` does with its options: parts of recommendations in a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.events import Events
from itrec_dist.api.recommendations import requested, requested_items, skipped, told_of_lacking
from itrec_dist.errors import ConfigError
from itrec_dist.storage import ray_job_folder
from itrec_dist.storage.uri import Uri, refuse_credentials

if TYPE_CHECKING:
    from itrec_dist.api.run import Run
    from itrec_dist.inference.load import Restored
    from itrec_dist.inference.recommend import Outcome, Request
    from itrec_dist.inference.scoring.folder import Existing
    from itrec_dist.inference.scoring.plan import Plan
    from itrec_dist.inference.scoring.scorer import Job
    from itrec_dist.inference.scoring.sources import Source

Say = Callable[[str], None]

MEASURED = 4096
"""Users that a dry run scores."""
_SECONDS_BETWEEN_LINES = 30.0


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a batch came to."""

    outcome: Outcome
    parts: int
    """Files in the folder."""
    reused: int
    """Of them, those of earlier calls."""
    workers: int
    seconds: float
    """That scoring took, with the start of the workers; 0 if no part was left."""
    users_per_second: float
    """Of a worker, once it is started: reading, ranking and writing; 0 if no part was left."""
    notes: tuple[str, ...] = ()
    """What is doubtful, or was skipped."""


def scored(run: Run, parsed: Any, histories: Any = None, say: Say | None = None) -> Scored:
    """Write recommendations as a folder of parts.

    Args:
        run: the run.
        parsed: the parsed options of `itrec recommend`, with `workers`.
        histories: whom to serve, in place of the options' histories; see `Run.recommend`.
        say: is told how far it is; None says nothing.

    Raises:
        ItrecError: the request, the histories, the folder or the cluster do not allow it.
        TrainingError: workers were lost too often.
    """
    from itrec_dist import launch
    from itrec_dist.inference.scoring.folder import SUMMARY, Folder
    from itrec_dist.inference.scoring.plan import checkpoint_of, prepare
    from itrec_dist.inference.scoring.scorer import Job
    from itrec_dist.runs.console import ProgressView

    tell = say or (lambda _: None)
    existing = _check(parsed)
    restored, request, notes = _request(run, parsed)
    source, warnings = _source(run, restored, parsed, histories)
    folder = Folder(parsed.out)
    plan = prepare(folder, source, restored, request, parsed.workers, existing)
    place = run.path if isinstance(run.path, Uri) else run.path.absolute()
    job = Job(place, run.checkpoint, checkpoint_of(restored), request, folder.place, plan.request)
    counts, seconds = dict(plan.done), 0.0
    if plan.left:
        _say_begin(plan, parsed.workers, tell)
        view = ProgressView(quiet=say is None)
        use_gpu = launch.connect_scorers(parsed.workers, parsed.address, view)
        started = time.monotonic()
        for part in _followed(job, plan, parsed.workers, use_gpu, tell):
            counts[int(part["part"])] = part
        seconds = time.monotonic() - started
    outcome = _total(counts)
    fresh = [counts[part] for part in plan.left]
    busy = sum(float(part["seconds"]) for part in fresh)
    done = Scored(
        outcome, plan.cut.parts, len(plan.done), parsed.workers, seconds,
        sum(int(part["served"]) for part in fresh) / busy if busy else 0.0,
        (*notes, *warnings, *told_of_lacking(plan.cut.lacking),
         *skipped(plan.cut.skipped_events, plan.cut.skipped_items)),
    )  # fmt: skip
    folder.write(SUMMARY, _summary(done))
    folder.remove_histories()
    return done


def planned(run: Run, parsed: Any, say: Say) -> None:
    """Say how many users there are and how long they would take; nothing is written.

    The first users are scored in this process, as a worker would.

    Raises:
        ItrecError: the request or the histories do not allow it.
    """
    from itrec_dist.inference.recommend import Ranker
    from itrec_dist.inference.scoring.plan import users_per_part
    from itrec_dist.sweeps.estimate import format_time

    _check_workers(parsed)
    restored, request, _ = _request(run, parsed)
    source, _ = _source(run, restored, parsed, None)
    ranker = Ranker(restored, request)
    started = time.monotonic()
    with source.opened() as opened:
        size = users_per_part(opened.num_users, parsed.workers)
        first = next(opened.pieces(MEASURED))
        reading = time.monotonic() - started
        with _as_a_worker(restored):
            for _ in ranker.ranking(first).tables():  # allocates what later passes reuse
                break
            started = time.monotonic()
            for _ in ranker.ranking(first).tables():
                pass
            rate = len(first.users) / (time.monotonic() - started)
    users, workers = opened.num_users, parsed.workers
    say(f"users: {users:,} in {-(-users // size):,} parts of {size:,}")
    say(f"reading and sorting their histories here: {format_time(reading)}")
    say(
        f"a worker scores {rate:,.0f} users/s ({restored.engine.device}, measured here on "
        f"{len(first.users):,} users)"
    )
    most, per_second = 10_000_000, rate * workers
    say(
        f"scoring with {workers} worker{'s' * (workers > 1)} takes about "
        f"{format_time(users / per_second)}; {most:,} users take about "
        f"{format_time(most / per_second)}"
    )


def _check(parsed: Any) -> Existing:
    """Refuse options that do not go together; returns what to do with an existing folder."""
    _check_workers(parsed)
    if parsed.resume and parsed.overwrite:
        raise ConfigError("--resume keeps parts and --overwrite replaces them: give one of them")
    for name in ("out", "histories"):
        if isinstance(parsed[name], Uri):
            try:
                refuse_credentials(parsed[name], f"--{name}")
            except ValueError as error:
                raise ConfigError(str(error)) from error
    if isinstance(parsed.out, Path):
        ray_job_folder.refuse_path(parsed.out, "--out")
        if parsed.out.suffix == ".parquet":
            raise ConfigError(
                f"--out {parsed.out} is named like a file, with --workers it is a folder of "
                "parts: give a name without .parquet"
            )
    return "resume" if parsed.resume else "overwrite" if parsed.overwrite else "refuse"


def _check_workers(parsed: Any) -> None:
    if parsed.workers < 1:
        raise ConfigError(f"--workers {parsed.workers} must be at least 1")
    if parsed["items"] is not None:  # a namespace has a method of this name
        raise ConfigError("--items is one history and needs no --workers: leave one of them out")


def _request(run: Run, parsed: Any) -> tuple[Restored, Request, tuple[str, ...]]:
    """The model, and what is asked of it, after it was checked that the model can do it."""
    from itrec_dist.inference.recommend import Ranker

    restored = run.restored
    request, notes = requested_items(restored, parsed)
    Ranker(restored, request)
    return restored, request, notes


def _source(
    run: Run, restored: Restored, parsed: Any, histories: Any
) -> tuple[Source, tuple[str, ...]]:
    """Whom to serve, and what is doubtful about them."""
    from itrec_dist.data.shards import fetch
    from itrec_dist.inference import fitting
    from itrec_dist.inference.scoring import sources

    place = parsed.shards or restored.run.shards
    given = parsed.histories
    if isinstance(histories, Events) and len(histories.inputs) == 1:
        (given,) = histories.inputs
    if given is not None:
        return sources.OfEvents(restored, given, place, parsed.memory_limit), ()
    if histories is None:
        shards = fetch.local(place)
        warning = fitting.warning(restored, shards, place)
        return sources.OfShards(restored, shards), (warning,) if warning else ()
    made = requested(run, parsed, histories)
    return sources.Given(made.served), (made.warning,) if made.warning else ()


def _say_begin(plan: Plan, workers: int, say: Say) -> None:
    done = f", {len(plan.done):,} of them done already" if plan.done else ""
    say(
        f"{plan.cut.users:,} users in {plan.cut.parts:,} parts{done}; "
        f"{workers} worker{'s' * (workers > 1)}"
    )


def _followed(
    job: Job, plan: Plan, workers: int, use_gpu: bool, say: Say
) -> Iterator[dict[str, Any]]:
    """Score what is left, and say now and then how far it is."""
    from itrec_dist.launch import scoring
    from itrec_dist.sweeps.estimate import format_time

    said, done, users, busy = time.monotonic(), 0, 0, 0.0
    for part in scoring.score(job, plan.left, workers, use_gpu=use_gpu):
        done, users, busy = done + 1, users + int(part["served"]), busy + float(part["seconds"])
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            said, left = now, (len(plan.left) - done) * busy / done / workers
            say(
                f"{len(plan.done) + done:,} of {plan.cut.parts:,} parts, {users / busy:,.0f} "
                f"users/s of each worker, about {format_time(left)} left"
            )
        yield part


def _total(counts: dict[int, dict[str, Any]]) -> Outcome:
    from itrec_dist.inference.recommend import Outcome

    names = [field.name for field in dataclasses.fields(Outcome)]
    return Outcome(**{name: sum(int(c.get(name, 0)) for c in counts.values()) for name in names})


def _summary(done: Scored) -> dict[str, Any]:
    content = dataclasses.asdict(done)
    return {**content.pop("outcome"), **content, "notes": list(done.notes)}


@contextlib.contextmanager
def _as_a_worker(restored: Restored) -> Iterator[None]:
    """On a CPU, with one thread, as Ray gives a worker."""
    import torch

    threads = torch.get_num_threads()
    if restored.engine.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
