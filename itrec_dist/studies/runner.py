"""Runs a published study: every arm, protocol and seed, resumable, ending in one report.

The studies are defined in `studies/`; this file is what they share.

Every run is a process of its own (`itrec train --local`), so that several small models share a
machine's cores; completed runs are not repeated.
"""

import concurrent.futures
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from itrec_dist import config
from itrec_dist.config import shipped_files
from itrec_dist.data import manifest
from itrec_dist.data.shards import fetch
from itrec_dist.data.sources import staging
from itrec_dist.errors import ConfigError, OutputError, ShardsError, TrainingError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.studies.study import Study
from itrec_dist.system import limits
from itrec_dist.training import precision
from itrec_dist.training.config import RunConfig

Say = Callable[[str], None]


@dataclass(frozen=True)
class StudyConfig:
    """What to run of the study, and how many runs in parallel."""

    seeds: int = 1
    """Runs per arm and protocol, with the seeds 0, 1, 2 ..."""
    arms: tuple[str, ...] | None = None
    """Arms to run; null runs all."""
    protocols: tuple[str, ...] | None = None
    """Protocols (ways to split the data) to run them on; null takes all of the study."""
    epochs: int | None = None
    """Epochs of every arm, for a quick test; null takes each recipe's."""
    jobs: int | None = None
    """Runs in parallel; null takes one per core, or one if there is a GPU."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1, or null")
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs={self.jobs} must be at least 1, or null")

    def check(self, study: Study) -> None:
        """Check that the study has the chosen arms and protocols.

        Raises:
            ConfigError: it lacks one; the message lists those it has.
        """
        choices = {
            "arms": (self.arms, [arm.name for arm in study.arms]),
            "protocols": (self.protocols, list(study.protocols)),
        }
        for field, (chosen, known) in choices.items():
            if chosen is None:
                continue
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen:
                what = ", ".join(unknown) or "nothing"
                raise ConfigError(f"{field} names {what}; valid: {', '.join(known)}")


@dataclass(frozen=True)
class StudySetup:
    """A study, the ratings at `path` to run it on, and its output folder."""

    study: Study
    source: str
    path: Path
    out: Path
    say: Say


def reproduce(setup: StudySetup, chosen: StudyConfig) -> Path:
    """Run what is not complete of the study; returns the report's path.

    Raises:
        ConfigError: the study has no such arm or protocol.
        OutputError: the folder holds something else, or a study on other data.
        TrainingError: a run failed; the message is the last line of its output.
    """
    study, out, say = setup.study, setup.out, setup.say
    chosen.check(study)
    _check_folder(out)
    names = chosen.protocols or tuple(study.protocols)
    shards = {name: _shards(setup, name) for name in names}
    jobs = chosen.jobs or _default_jobs()
    runs = list(fitting(planned(study, out, shards, chosen), chosen, say))
    waiting = [run for run in runs if not is_done(run)]
    say(f"{len(runs)} runs, {len(runs) - len(waiting)} complete, {jobs} at a time")
    for name, folder in shards.items():
        judged = study.judge_baselines(folder, out / "runs" / name / "baselines")
        for baseline, splits in judged.items():
            say(f"{name} {baseline}: {study.figures(splits)}")
    _train_all(waiting, jobs, lambda run: _summary(study, run), say)
    _record_windows(study, runs, say)
    return _report(setup, [run.folder for run in runs], shards)


def _check_folder(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / "shards").is_dir():
        raise OutputError(f"{out} holds something other than a study: choose another location")


def _shards(setup: StudySetup, name: str) -> Path:
    """Window the ratings, unless that has been done from the same ratings and settings."""
    out, source, path = setup.out, setup.source, setup.path
    folder = out / "shards" / name
    cut = setup.study.protocols[name]
    try:
        existing = manifest.read(folder)
    except ShardsError:
        made = cut.windows.write(source, path, folder, cut.settings)
        counts = ", ".join(f"{made.num_windows(s):,} {s}" for s in made.splits)
        setup.say(f"windowed {name}: {counts}")
        return folder
    if existing.source.get("format") != source or not _is_made_from(existing, path):
        raise OutputError(
            f"{out} holds a study of other ratings ({existing.source.get('path')} at that time), "
            f"not of those in {path}: choose another location"
        )
    wanted = config.to_dict(cut.settings)
    if any(wanted.get(name) != value for name, value in existing.settings.items()):
        raise OutputError(f"{folder} was windowed with other settings: choose another location")
    return folder


def _is_made_from(existing: manifest.Manifest, path: Path) -> bool:
    """Whether the source files at `path` are, byte for byte, those that were windowed."""
    try:
        folder = path.parent if path.is_file() else path
        return all(staging.checksum(folder / f["name"]) == f for f in existing.source["files"])
    except (OSError, KeyError):
        return False


def planned(
    study: Study, out: Path, shards: dict[str, Path], chosen: StudyConfig
) -> Iterator[RunConfig]:
    """Every run, seed by seed, so that an interrupted study has complete comparisons early."""
    arms = [arm for arm in study.arms if chosen.arms is None or arm.name in chosen.arms]
    for seed in range(chosen.seeds):
        for arm in arms:
            for name in study.protocols_of(arm):
                if name not in shards:
                    continue
                overrides = [
                    f"shards={shards[name].absolute()}",
                    f"out={(out / 'runs' / name / arm.name / f'seed-{seed}').absolute()}",
                    f"seed={seed}",
                    "cluster.threads=1" if _default_jobs() > 1 else "cluster.threads=null",
                    *arm.overrides,
                ]
                recipe = study.recipe_of(arm, shards[name])
                if chosen.epochs is not None:
                    overrides.append(f"training.epochs={chosen.epochs}")
                yield config.load(RunConfig, shipped_files.recipe(recipe), overrides)


def fitting(runs: Iterator[RunConfig], chosen: StudyConfig, say: Say) -> Iterator[RunConfig]:
    """The runs whose models the data has everything for; others are named once.

    Raises:
        ConfigError: the data lacks something for an arm that was asked for by name.
    """
    refused: set[Path] = set()
    for run in runs:
        arm = run.folder.parent
        try:
            run.model.check(manifest.read(fetch.local(run.shards)))
        except ConfigError as error:
            if chosen.arms is not None:
                raise
            if arm not in refused:
                say(f"{arm.parent.name} {arm.name} is left out: {error}")
            refused.add(arm)
            continue
        yield run


def _record_windows(study: Study, runs: Sequence[RunConfig], say: Say) -> None:
    """Record what every run found for each test window, unless that has been done."""
    from itrec_dist.evaluation import per_window

    missing = [
        run
        for run in runs
        if not RunDirectory(run.folder).test_windows.is_file()
        and study.compares_windows(manifest.read(fetch.local(run.shards)))
    ]
    if missing:
        say(f"evaluating {len(missing)} run{'s' * (len(missing) > 1)} window by window")
    for run in missing:
        per_window.write(run.folder)


def is_done(run: RunConfig) -> bool:
    """Whether a run of this very configuration is complete."""
    directory = RunDirectory(run.folder)
    if not directory.is_complete:
        return False
    try:
        return precision.is_same(config.load(RunConfig, directory.config), run)
    except ConfigError:  # written by a version with other settings
        return False


def _default_jobs() -> int:
    import torch

    if torch.cuda.is_available():
        return 1
    return limits.whole_cores()


def _train_all(
    waiting: Sequence[RunConfig], jobs: int, summary: Callable[[RunConfig], str], say: Say
) -> None:
    """Train the runs, `jobs` at a time; a failure or Ctrl-C ends the others."""
    children = _Children()
    done = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(children.train, run): run for run in waiting}
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                done += 1
                say(f"[{done}/{len(waiting)}] {summary(futures[future])}")
        except BaseException:
            children.end()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Children:
    """The running training processes, so that they can be ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def train(self, run: RunConfig) -> None:
        """Train one run in a subprocess, to its end."""
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


def _summary(study: Study, run: RunConfig) -> str:
    evaluation = RunDirectory(run.folder).read_json(RunDirectory(run.folder).evaluation)
    protocol, arm, seed = run.folder.parts[-3:]
    judged = {split: Judgement.from_json(j) for split, j in evaluation["splits"].items()}
    figures = study.figures(judged)
    return f"{protocol} {arm} {seed}: {figures} (epoch {evaluation['epoch']})"


def _report(setup: StudySetup, runs: Sequence[Path], shards: dict[str, Path]) -> Path:
    from itrec_dist import reports
    from itrec_dist.storage import atomic

    out = setup.out
    of_baselines = (out / "runs" / name / "baselines" for name in shards)
    places = [*runs, *(folder for folder in of_baselines if folder.is_dir())]
    atomic.write_text(out / "results.md", setup.study.markdown(places))
    page = out / "report.html"
    reports.write(places, page, setup.study.title, overwrite=True)
    setup.say(f"results as Markdown: {out / 'results.md'}")
    return page
