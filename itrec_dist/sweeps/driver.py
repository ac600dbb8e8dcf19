"""Runs a sweep, after its checks, to the end of its finals."""

import time
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from itrec_dist import config, launch
from itrec_dist.config.fields import FREE, is_marked
from itrec_dist.errors import CheckpointError, ConfigError, OutputError, TrainingError
from itrec_dist.runs import trackers
from itrec_dist.storage import atomic, outputs
from itrec_dist.sweeps import RECIPE, resources
from itrec_dist.sweeps.checks import Checked
from itrec_dist.sweeps.config import Runs, SweepConfig
from itrec_dist.sweeps.directory import (
    SweepDirectory,
    Trial,
    describe_failures,
    describe_retry,
    is_left,
    ranked,
)
from itrec_dist.sweeps.jobs import JobQueue, Say
from itrec_dist.system import environment

if TYPE_CHECKING:
    from itrec_dist.sweeps.asha import EndedTrial


@dataclass(frozen=True)
class Place:
    """Where trials run."""

    local: bool = False
    """One after the other in this process, without Ray."""
    address: str | None = None
    """The Ray cluster to join; None starts one on this machine."""


def run(
    checked: Checked, *, resume: bool, place: Place, say: Say,
    directory: SweepDirectory | None = None,
) -> SweepDirectory:  # fmt: skip
    """Run what is not complete of a sweep: its trials, then its finals.

    For a sweep at a URI, `directory` is that of a `remote.Session`.

    Raises:
        ConfigError: the cluster lacks the resources of a trial; or a resumed sweep was another one.
        CheckpointError: there is nothing to resume.
        TrainingError: no trial was completed.
    """
    sweep = checked.sweep
    directory = directory or SweepDirectory(sweep.out)
    if resume:
        _check_same_sweep(checked, directory)
    trackers.prepare(sweep.trackers, sweep.out.name, directory.path)
    if place.local:
        _check_local(checked)
        packing = resources.Packing(sweep.resources.cpus, 0, 1)
    else:
        use_gpu = launch.connect(checked.runs.base, place.address)
        packing = _packing(checked, place.address, use_gpu=use_gpu)
    _prepare(checked, directory, resume=resume)
    began = time.monotonic()
    trials = directory.trials()
    say(_describe_plan(checked, packing, trials))
    queue = JobQueue(checked, directory, trials, say)
    try:
        if not queue.is_over:
            # The directory's own base: a worker has another working directory, or another machine.
            own = replace(sweep, base=_base_of(directory))
            if place.local:
                _run_here(own, queue)
            else:
                from itrec_dist.sweeps import ray_tune  # imports Ray, which `connect` prepares

                ray_tune.run(own, queue, packing, _history(checked, directory, trials))
    except KeyboardInterrupt:
        say("stopped: the same command with --resume continues from here")
        raise
    finally:
        seconds = round(time.monotonic() - began, 1)
        directory.append("session", workers=packing.concurrent, seconds=seconds)
    ended = directory.trials()
    _check_any_complete(sweep, ended)
    if failures := describe_failures(ended):
        say(f"warning: {failures}")
    return directory


def _check_local(checked: Checked) -> None:
    """Refuse what one process cannot do."""
    if checked.sweep.scheduler.name == "asha":
        raise ConfigError(
            "scheduler.name=asha compares trials that train at the same time, and with --local "
            "they train one after the other: leave --local out, or set scheduler.name=none"
        )
    if checked.runs.is_grouped:
        raise ConfigError(
            f"the base has cluster.num_workers={checked.runs.base.cluster.num_workers}, and "
            "--local trains in this process: leave --local out, or fixed: {cluster.num_workers: 1}"
        )


def _run_here(sweep: SweepConfig, queue: JobQueue) -> None:
    """Run all jobs in this process, in the order in which they are handed out."""
    from itrec_dist.distributed.context import default_device
    from itrec_dist.sweeps.trial import Trials

    trials = Trials(sweep, default_device())
    while (job := queue.next()) is not None:
        queue.ended(job, trials.work(job, lambda epoch, value: None))  # noqa: ARG005


def _check_any_complete(sweep: SweepConfig, trials: list[Trial]) -> None:
    if ranked(sweep, trials):
        return
    first = next((t.outcome.error for t in trials if t.outcome.error), "all were cut off")
    failed = [t for t in trials if t.outcome.status == "failed"]
    raise TrainingError(
        f"none of the {len(trials)} trials of {sweep.out} was completed; the first ended with: "
        f"{first}" + (f" ({describe_retry(failed)})" if failed else "")
    )


def _history(
    checked: Checked, directory: SweepDirectory, trials: list[Trial]
) -> "list[EndedTrial]":
    """The trials that have ended, with their scores after each epoch."""
    if checked.sweep.scheduler.name != "asha":
        return []
    history = []
    for trial in trials:
        if trial.outcome.status in ("complete", "stopped"):
            run = directory.log_of(trial.number)
            judged = [e["validation"] for e in run.events("epoch") if e["validation"]]
            values = (checked.runs.base.training.value(one) for one in judged)
            scores = [checked.sweep.score(value) for value in values]
            history.append((trial.assignment, scores))
    return history


def _packing(checked: Checked, address: str | None, *, use_gpu: bool) -> resources.Packing:
    import ray

    cores = resources.local_cores() if address is None else float("inf")
    total = ray.cluster_resources()
    if checked.runs.is_grouped:
        return resources.pack_groups(checked.sweep, checked.runs.base, total, use_gpu=use_gpu)
    return resources.pack(checked.sweep, checked.runs.base, total, cores)


def _describe_plan(checked: Checked, packing: resources.Packing, trials: list[Trial]) -> str:
    sweep = checked.sweep
    ended = sum(1 for t in trials if not is_left(sweep, t))
    taken = resources.describe(checked.runs.base, packing)
    seeds = f" of {sweep.seeds} seeds" if sweep.seeds > 1 else ""
    plan = f"{checked.count} trials{seeds}, {packing.concurrent} at a time, each with {taken}"
    if sweep.final.candidates:
        candidates, fresh = sweep.final.candidates, sweep.final.seeds
        plan += f"; then {candidates} finalist{'s' * (candidates != 1)}"
        plan += f" with {fresh} fresh seed{'s' * (fresh != 1)}"
    failed = sum(1 for t in trials if t.outcome.status == "failed" and is_left(sweep, t))
    again = f", {failed} that failed {'are' if failed > 1 else 'is'} tried again" if failed else ""
    return plan + (f"; {ended} trials are done{again}" if trials else "")


def _prepare(checked: Checked, directory: SweepDirectory, *, resume: bool) -> None:
    sweep = replace(checked.sweep, base=_base_of(directory))
    recorded = environment.record(sweep.search.seed)
    if resume:
        began = directory.read_environment()
        recorded = {**began, "resumed": [*began.get("resumed", []), recorded]}
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {directory.path}: {error.strerror}") from error
    atomic.write_text(directory.base, config.to_yaml(checked.runs.base))
    atomic.write_json(directory.manifest, checked.data.to_json())
    atomic.write_json(directory.environment, recorded)
    atomic.write_text(directory.path / RECIPE, config.to_yaml(sweep))  # last: it marks a sweep
    directory.send()


def _base_of(directory: SweepDirectory) -> str:
    """The path or URI of a sweep's base."""
    return str(outputs.below(directory.place, directory.base.name))


def _check_same_sweep(checked: Checked, directory: SweepDirectory) -> None:
    if not directory.exists:
        raise CheckpointError(
            f"{directory.place} holds no sweep to resume: leave --resume out to start one there"
        )
    before, now = directory.read_recipe(), checked.sweep
    fingerprint = directory.read_manifest().fingerprint
    if fingerprint != checked.data.fingerprint:
        raise ConfigError(
            f"{now.shards} holds other data (fingerprint {checked.data.fingerprint[:12]}) than the "
            f"sweep in {directory.place} started on ({fingerprint[:12]}): give those shards"
        )
    differing = [
        f.name for f in fields(SweepConfig)
        if not is_marked(f, FREE) and getattr(before, f.name) != getattr(now, f.name)
    ]  # fmt: skip
    base = Runs(replace(before, shards=now.shards, resources=now.resources)).base
    if replace(base, out=checked.runs.base.out) != checked.runs.base:
        differing.append("base")
    if differing:
        raise ConfigError(
            f"the sweep in {directory.place} cannot continue with another {', '.join(differing)}: "
            f"resume it with --config {directory.recipe}, or start another"
        )
    begun = len(directory.trials())
    if now.scheduler.name == "pbt" and begun and checked.count != begun:
        raise ConfigError(
            f"trials={checked.count}, but the population in {directory.place} has {begun} and "
            f"cannot grow while it trains: give {begun}"
        )
    if checked.count < begun:
        raise ConfigError(
            f"trials={checked.count}, but the sweep in {directory.place} already has {begun}: give "
            "at least as many"
        )
