"""Scores the parts of a batch on a Ray cluster, by Ray Data.

Each worker is an actor of Ray Data that loads the model once and takes a part after the other. Only
the numbers of parts and what was counted in them pass through Ray: histories and recommendations
stand in the folder of the batch, so that neither Ray's memory nor the driver's grows with users.

A worker that is lost is replaced, and its part scored again, which writes the same file again; a
part appears whole or not at all, and counts once. Ray Data would do so without end, so attempts are
counted: a fault that recurs every time should cost minutes only.
"""

import collections
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import ray.data
import ray.exceptions

from itrec_dist import errors
from itrec_dist.errors import ItrecError, TrainingError
from itrec_dist.inference.scoring.scorer import Job, Scorer
from itrec_dist.launch.cluster import own_signals
from itrec_dist.launch.failures import describe

_AHEAD = 2  # parts that a worker has been given, one of which it scores
_MOST_ATTEMPTS = 4  # of a part
_MOST_STARTS = 10  # of a worker, on average
_STARTS = -1  # what they are counted under
_RESUME = "--resume goes on with the parts that are left"


def score(
    job: Job, parts: Sequence[int], workers: int, *, use_gpu: bool
) -> Iterator[dict[str, Any]]:
    """Write parts, and yield what `Scorer.score` returns of each as it is done.

    Raises:
        ItrecError: a worker met a mistake.
        TrainingError: workers were lost too often.
    """
    workers = min(workers, len(parts))
    with _quiet():
        counter = ray.remote(num_cpus=0, max_restarts=-1)(_Counter).remote()
        limits = {_STARTS: _MOST_STARTS * workers}
        done = ray.data.from_items(
            [{"part": part} for part in parts], override_num_blocks=len(parts)
        ).map_batches(
            _Worker,
            fn_constructor_args=(job, counter, limits),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_AHEAD),
            num_cpus=1,
            num_gpus=int(use_gpu),
        )
        try:
            with own_signals():
                for row in done.iter_rows():
                    yield _counts(json.loads(row["scored"]))
        except (ray.exceptions.RayError, OSError) as error:
            raise TrainingError(f"{describe({0: error}).reason}: {_RESUME}") from error


def _counts(scored: dict[str, Any]) -> dict[str, Any]:
    """What was counted in a part.

    Raises:
        ItrecError: the worker met a mistake instead.
    """
    if "mistake" in scored:
        kind: type[ItrecError] = getattr(errors, scored["kind"])
        raise kind(scored["mistake"])
    return scored


class _Worker:
    """An actor of Ray Data.

    Mistakes of the user are results: Ray Data hands on an error of a constructor as text alone,
    after trying it again, and prints every one.
    """

    def __init__(self, job: Job, counter: Any, limits: dict[int, int]) -> None:
        self._counter, self._limits = counter, limits
        self._scorer: Scorer | None = None
        self._mistake: ItrecError | None = None
        try:
            self._count(_STARTS, "the workers' starts")
            self._scorer = Scorer(job)
        except ItrecError as error:
            self._mistake = error

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        part = int(rows["part"][0])
        try:
            if self._mistake is not None:
                raise self._mistake
            assert self._scorer is not None
            self._count(part, f"part {part}")
            scored = self._scorer.score(part)
        except ItrecError as error:
            scored = {"mistake": str(error), "kind": type(error).__name__}
        return {"scored": np.array([json.dumps(scored)], dtype=object)}

    def _count(self, what: int, shown: str) -> None:
        """Refuse what was attempted too often.

        Raises:
            TrainingError: it was.
        """
        most = self._limits.get(what, _MOST_ATTEMPTS)
        if ray.get(self._counter.add.remote(what)) > most:
            raise TrainingError(
                f"workers were lost too often, {most} times in {shown} (as when a node has too "
                f"little memory): {_RESUME}"
            )


class _Counter:
    """Counts attempts for all workers; an actor that takes no CPU."""

    def __init__(self) -> None:
        self._counts: collections.Counter[int] = collections.Counter()

    def add(self, what: int) -> int:
        """Count one more; returns how many there were."""
        self._counts[what] += 1
        return self._counts[what]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no account of Ray Data's execution: the caller says how far it is."""
    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before, level = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.CRITICAL)  # what ends it is raised
    try:
        yield
    finally:
        context.enable_progress_bars = before
        log.setLevel(level)
