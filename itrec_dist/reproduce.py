"""A published study run whole: every arm, protocol and seed, resumable, ending in one report.

The study is the Informative Transformer Encoder (Nitayanont): cross entropy and binary cross
entropy with both kinds of side information, and the latter with each kind left out; beside them
the fair comparison that the paper lacks (softmax over all targets), the model with a learned
repeat bias, the best one so far, and the baselines. Its own protocol picks the best epoch on the
very windows that it reports, so every arm is also trained where epoch choice and judgement use
different windows, and on each user's last events.

Every run is a process of its own (`itrec train --local`), so that several small models share a
machine's cores; a run that is complete is not run again.
"""

import concurrent.futures
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itrec_dist import baselines, config, manifest, resources, staging
from itrec_dist.baseline_runs import judge_all
from itrec_dist.errors import ConfigError, OutputError, ShardsError, TrainingError
from itrec_dist.run import RunConfig
from itrec_dist.run_directory import RunDirectory
from itrec_dist.windowing import WindowConfig, window

PROTOCOLS: dict[str, WindowConfig] = {
    "paper-90-10": WindowConfig(),
    "paper-80-10-10": WindowConfig(test_fraction=0.1),
    "leave-last": WindowConfig(protocol="leave_last"),
}
"""Folder -> how the ratings are cut."""


@dataclass(frozen=True)
class Arm:
    """One configuration of the study: a shipped recipe and what differs from it."""

    name: str
    recipe: str
    overrides: tuple[str, ...]


ARMS = (
    Arm("ce-both", "paper", ("loss=ce",)),
    Arm("bce-both", "paper", ("loss=bce",)),
    Arm("bce-user", "paper", ("loss=bce", "model.side_information=user")),
    Arm("bce-movie", "paper", ("loss=bce", "model.side_information=movie")),
    Arm("bce-none", "paper", ("loss=bce", "model.side_information=none")),
    Arm("softmax-both", "paper", ("loss=softmax",)),
    Arm("bce-both-repeat", "paper", ("model.repeat_bias=true", "name=ITE bce both, repeat bias")),
    Arm("best", "ml1m_best", ("name=ITE bce both, large, repeat bias",)),
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class StudyConfig:
    """What to run of the study, and how much at once."""

    seeds: int = 1
    """Runs per arm and protocol, with the seeds 0, 1, 2 ..."""
    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)
    """Which arms to run."""
    protocols: tuple[str, ...] = tuple(PROTOCOLS)
    """Which splits to run them on: the paper's, the paper's with a test split, each user's last."""
    epochs: int | None = None
    """Epochs of every arm, for a quick look; null takes each recipe's."""
    jobs: int | None = None
    """Runs at the same time; null is one per core, or one where there is a GPU."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1, or null")
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs={self.jobs} must be at least 1, or null")
        choices = {"arms": [arm.name for arm in ARMS], "protocols": list(PROTOCOLS)}
        for field, known in choices.items():
            chosen = getattr(self, field)
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen:
                what = ", ".join(unknown) or "nothing"
                raise ValueError(f"{field} names {what}; valid: {', '.join(known)}")


def reproduce(source: str, path: Path, out: Path, study: StudyConfig, say: Say) -> Path:
    """Run what is missing of the study in `out`; returns the report's path.

    Raises:
        OutputError: `out` holds something else, or a study of other data.
        TrainingError: a run failed; the message is its last line.
    """
    _refuse_foreign(out)
    shards = {name: _shards(source, path, out, name, say) for name in study.protocols}
    jobs = study.jobs or _default_jobs()
    runs = list(_runs(out, shards, study))
    waiting = [run for run in runs if not _is_done(run)]
    say(f"{len(runs)} runs, {len(runs) - len(waiting)} complete, {jobs} at a time")
    for name, folder in shards.items():
        _baselines(folder, out / "runs" / name, say)
    _train_all(waiting, jobs, say)
    return _report(out, [run.folder for run in runs], shards, say)


def _refuse_foreign(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / "shards").is_dir():
        raise OutputError(f"{out} holds something that is no reproduction: choose another place")


def _shards(source: str, path: Path, out: Path, name: str, say: Say) -> Path:
    """Window the ratings, unless that was done before from the same ratings and settings."""
    folder = out / "shards" / name
    settings = PROTOCOLS[name]
    try:
        found = manifest.read(folder)
    except ShardsError:
        made = window(source, path, folder, settings)
        counts = ", ".join(f"{made.num_windows(s):,} {s}" for s in made.splits)
        say(f"windowed {name}: {counts}")
        return folder
    if found.source.get("format") != source or not _is_made_from(found, path):
        raise OutputError(
            f"{out} holds a reproduction on other ratings ({found.source.get('path')} as they were "
            f"then), not on those in {path}: choose another place"
        )
    wanted = config.to_dict(settings)
    if any(wanted.get(name) != value for name, value in found.settings.items()):
        raise OutputError(f"{folder} was windowed with other settings: choose another place")
    return folder


def _is_made_from(found: manifest.Manifest, path: Path) -> bool:
    """Whether the source files at `path` are, byte for byte, those that were windowed."""
    try:
        return all(staging.checksum(path / f["name"]) == f for f in found.source["files"])
    except (OSError, KeyError):
        return False


def _runs(out: Path, shards: dict[str, Path], study: StudyConfig) -> Iterator[RunConfig]:
    """Every run, seed by seed, so that an interrupted study has whole comparisons first."""
    for seed in range(study.seeds):
        for arm in (arm for arm in ARMS if arm.name in study.arms):
            for name, folder in shards.items():
                overrides = [
                    f"shards={folder.absolute()}",
                    f"out={(out / 'runs' / name / arm.name / f'seed-{seed}').absolute()}",
                    f"seed={seed}",
                    "cluster.threads=1" if _default_jobs() > 1 else "cluster.threads=null",
                    *arm.overrides,
                ]
                if study.epochs is not None:
                    overrides.append(f"training.epochs={study.epochs}")
                yield config.load(RunConfig, resources.recipe(arm.recipe), overrides)


def _is_done(run: RunConfig) -> bool:
    """Whether this very configuration was trained and judged to its end."""
    directory = RunDirectory(run.folder)
    if not directory.is_complete:
        return False
    try:
        return config.load(RunConfig, directory.config) == run
    except ConfigError:  # of a version with other settings
        return False


def _default_jobs() -> int:
    import torch

    if torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _baselines(shards: Path, out: Path, say: Say) -> None:
    place = out / "baselines"
    if all(RunDirectory(place / name).is_complete for name in baselines.names()):
        return
    chosen = {name: baselines.find(name)() for name in baselines.names()}
    for name, splits in judge_all(shards, place, chosen, overwrite=True).items():
        say(f"{shards.name} {name}: {_figures(splits)}")


def _train_all(waiting: Sequence[RunConfig], jobs: int, say: Say) -> None:
    """Train the runs, `jobs` at a time; a failure or Ctrl-C ends the others."""
    children = _Children()
    done = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(children.train, run): run for run in waiting}
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                done += 1
                say(f"[{done}/{len(waiting)}] {_summary(futures[future])}")
        except BaseException:
            children.end()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Children:
    """The training processes at work, so that they can be ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def train(self, run: RunConfig) -> None:
        """Run one training to its end in a process of its own."""
        recipe = run.folder.with_name(f"{run.folder.name}.yaml")
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(config.to_yaml(run), encoding="utf-8")
        command = [sys.executable, "-m", "itrec_dist", "train", "--local", "--overwrite"]
        with self._lock:
            if self._ended:
                return
            process = subprocess.Popen(
                [*command, "--config", str(recipe)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            self._running.add(process)
        _, problems = process.communicate()
        with self._lock:
            self._running.discard(process)
        recipe.unlink(missing_ok=True)
        if process.returncode and not self._ended:
            last = problems.strip().splitlines()[-1] if problems.strip() else "no message"
            raise TrainingError(f"the run in {run.folder} failed: {last}")

    def end(self) -> None:
        """End all processes and start no more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


def _summary(run: RunConfig) -> str:
    evaluation = RunDirectory(run.folder).read_json(RunDirectory(run.folder).evaluation)
    protocol, arm, seed = run.folder.parts[-3:]
    figures = _figures(evaluation["splits"])
    return f"{protocol} {arm} {seed}: {figures} (epoch {evaluation['epoch']})"


def _figures(splits: dict[str, Any]) -> str:
    split = "test" if "test" in splits else "validation"
    figures = splits[split]["unmasked"]
    return f"{split} P@5 {figures['precision@5']:.4f} HR@5 {figures['hit_rate@5']:.4f}"


def _report(out: Path, runs: Sequence[Path], shards: dict[str, Path], say: Say) -> Path:
    from itrec_dist import outputs, report
    from itrec_dist.report import tables

    places = [*runs, *(out / "runs" / name / "baselines" for name in shards)]
    outputs.write_text(out / "results.md", tables.markdown(places))
    title = "Informative Transformer Encoder: the paper's arms beside ours"
    written = report.write(places, out / "report.html", title, overwrite=True)
    say(f"results as Markdown: {out / 'results.md'}")
    return written


def check_source(source: str) -> None:
    """Refuse data that the study cannot be run on.

    Raises:
        ConfigError: the format has no user or movie features.
    """
    if source not in ("ml-1m", "ml-100k"):
        raise ConfigError(
            f"the study needs user and movie features, {source!r} has not both: "
            "give --source ml-1m or ml-100k"
        )
