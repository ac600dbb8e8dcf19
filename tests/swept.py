"""Small sweeps that run in the test's own process, in the order that Ray's actors would take."""

import contextlib
from pathlib import Path

import torch

from itrec_dist import config
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import checks, driver, remote
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.directory import SweepDirectory
from itrec_dist.sweeps.jobs import JobQueue
from itrec_dist.sweeps.trial import Trials

SPACE = {
    "loss": {"grid": ["ce", "bce"]},
    "optimizer.learning_rate": {"loguniform": [0.003, 0.03]},
}
FIXED = {"training.epochs": 1, "evaluation.train_sample": 0}


def sweep_of(
    shards: Path, out: Uri | Path, *, recipes: Path | None = None, **changes
) -> SweepConfig:
    """Four trials of one epoch of the debug recipe, and two finalists with two seeds.

    The recipe is written to the folder `recipes`, or beside the sweep.
    """
    given = {
        "shards": shards, "out": out, "base": "debug", "space": SPACE, "fixed": FIXED,
        "metric": "unmasked/precision@5", "trials": 4, "final": {"candidates": 2, "seeds": 2},
        **changes,
    }  # fmt: skip
    place = (recipes or out.parent) / f"{out.name}.yaml"
    place.write_text(config.as_yaml(given), encoding="utf-8")
    return config.load(SweepConfig, place)


class Cut(Exception):  # noqa: N818 - the end of a driver, in the place where it is asked for
    pass


def run_here(
    sweep: SweepConfig, *, resume: bool = False, most: int | None = None, groups: bool = False
):
    """Run a sweep without Tune; with `most`, the driver dies after so many jobs have begun.

    With `groups`, trials launch their workers on the Ray of this process.
    """
    checked = checks.checked(sweep)
    said: list[str] = []
    with contextlib.ExitStack() as held:
        directory = SweepDirectory(sweep.out)
        if isinstance(sweep.out, Uri):
            existing = "resume" if resume else "refuse"
            session = held.enter_context(remote.Session(sweep.out, existing, said.append))
            directory = session.directory
        if resume:
            driver._check_same_sweep(checked, directory)
        driver._prepare(checked, directory, resume=resume)
        _work(checked, directory, said, most, groups=groups)
    return remote.readable(sweep.out) if isinstance(sweep.out, Uri) else directory, said


def _work(checked, directory, said, most, *, groups) -> None:
    queue = JobQueue(checked, directory, directory.trials(), said.append)
    trials = Trials(checked.sweep, torch.device("cpu"), False if groups else None)
    begun = 0
    while (job := queue.next()) is not None:
        begun += 1
        if begun == most:
            raise Cut
        queue.ended(job, trials.work(job, lambda epoch, value: None))
    assert queue.is_over
    directory.append("session", workers=1, seconds=1.0)


def outcomes(directory: SweepDirectory) -> list[tuple]:
    """What two sweeps must agree on, trial by trial."""
    return [(t.number, t.assignment, t.outcome.status, t.outcome.value) for t in directory.trials()]
