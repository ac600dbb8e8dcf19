"""Runs a published study: every arm, protocol and seed, resumable, ending in one report.

The studies are defined in `studies/`; this file is what they share.

Every run is a process of its own (`itrec train --local`), so that several small models share a
machine's cores; completed runs are not repeated.
"""

import concurrent.futures
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from itrec_dist import config
from itrec_dist.config import shipped_files
from itrec_dist.data import manifest
from itrec_dist.data.shards import fetch
from itrec_dist.data.sources import staging
from itrec_dist.errors import CheckpointError, ConfigError, OutputError, ShardsError, TrainingError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.fetched import local_run, local_runs
from itrec_dist.storage import outputs
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
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
    out: Uri | Path
    say: Say


def reproduce(setup: StudySetup, chosen: StudyConfig) -> Uri | Path:
    """Run what is not complete of the study; returns the report's path or URI.

    Raises:
        ConfigError: the study has no such arm or protocol, or the URI carries a credential.
        EnvironmentProblem: the URI cannot be reached.
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
        judged = study.judge_baselines(folder, _of_baselines(out, name))
        for baseline, splits in judged.items():
            say(f"{name} {baseline}: {study.figures(splits)}")
    _train_all(waiting, jobs, lambda run: _summary(study, run), say)
    _record_windows(study, runs, say)
    return _report(setup, runs, shards)


def _check_folder(out: Uri | Path) -> None:
    outputs.check(out)
    if isinstance(out, Uri):
        tops = {name.partition("/")[0] for name in Store(out).files()}
        is_other = bool(tops) and "shards" not in tops
    else:
        is_other = out.is_dir() and any(out.iterdir()) and not (out / "shards").is_dir()
    if is_other:
        raise OutputError(f"{out} holds something other than a study: choose another location")


def _of_baselines(out: Uri | Path, protocol: str) -> Uri | Path:
    return outputs.below(out, f"runs/{protocol}/baselines")


def _shards(setup: StudySetup, name: str) -> Uri | Path:
    """Window the ratings, unless that has been done from the same ratings and settings."""
    out, source, path = setup.out, setup.source, setup.path
    folder = outputs.below(out, f"shards/{name}")
    cut = setup.study.protocols[name]
    try:
        existing = fetch.manifest_of(folder)
    except (ShardsError, ConfigError):
        # A copy that broke off is replaced: it has no manifest, and a path never has one.
        is_uri = isinstance(folder, Uri)
        made = cut.windows.write(source, path, folder, cut.settings, overwrite=is_uri)
        fetch.forget()
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
    study: Study, out: Uri | Path, shards: Mapping[str, Uri | Path], chosen: StudyConfig
) -> Iterator[RunConfig]:
    """Every run, seed by seed, so that an interrupted study has complete comparisons early."""
    arms = [arm for arm in study.arms if chosen.arms is None or arm.name in chosen.arms]
    for seed in range(chosen.seeds):
        for arm in arms:
            for name in study.protocols_of(arm):
                if name not in shards:
                    continue
                place = outputs.below(out, f"runs/{name}/{arm.name}/seed-{seed}")
                overrides = [
                    f"shards={_absolute(shards[name])}",
                    f"out={_absolute(place)}",
                    f"seed={seed}",
                    "cluster.threads=1" if _default_jobs() > 1 else "cluster.threads=null",
                    *arm.overrides,
                ]
                recipe = study.recipe_of(arm, shards[name])
                if chosen.epochs is not None:
                    overrides.append(f"training.epochs={chosen.epochs}")
                yield config.load(RunConfig, shipped_files.recipe(recipe), overrides)


def _absolute(place: Uri | Path) -> Uri | Path:
    return place.absolute() if isinstance(place, Path) else place


def fitting(runs: Iterator[RunConfig], chosen: StudyConfig, say: Say) -> Iterator[RunConfig]:
    """The runs whose models the data has everything for; others are named once.

    Raises:
        ConfigError: the data lacks something for an arm that was asked for by name.
    """
    refused: set[tuple[str, str]] = set()
    for run in runs:
        protocol, name, _ = _names(run)
        arm = (protocol, name)
        try:
            run.model.check(fetch.manifest_of(run.shards))
        except ConfigError as error:
            if chosen.arms is not None:
                raise
            if arm not in refused:
                say(f"{protocol} {name} is left out: {error}")
            refused.add(arm)
            continue
        yield run


def _record_windows(study: Study, runs: Sequence[RunConfig], say: Say) -> None:
    """Record what every run found for each test window, unless that has been done."""
    from itrec_dist.evaluation import per_window

    missing = [
        run
        for run in runs
        if study.compares_windows(fetch.manifest_of(run.shards))
        and not _directory(run).test_windows.is_file()
    ]
    if missing:
        say(f"evaluating {len(missing)} run{'s' * (len(missing) > 1)} window by window")
    for run in missing:
        uri = run.out if isinstance(run.out, Uri) else None
        per_window.write(_directory(run).path, uri)


def _directory(run: RunConfig) -> RunDirectory:
    """The files of a run on this machine; those at a URI are copied, without checkpoints.

    Raises:
        CheckpointError: there is no run at the URI.
    """
    return RunDirectory(local_run(run.out))


def _names(run: RunConfig) -> tuple[str, str, str]:
    """Protocol, arm and seed of a run, by which its folders are named."""
    protocol, arm, seed = PurePosixPath(str(run.out)).parts[-3:]
    return protocol, arm, seed


def is_done(run: RunConfig) -> bool:
    """Whether a run of this very configuration is complete."""
    try:
        directory = _directory(run)
        return directory.is_complete and precision.is_same(
            config.load(RunConfig, directory.config), run
        )
    except (CheckpointError, ConfigError):  # not there, or of a version with other settings
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
            raise TrainingError(f"the run in {run.out} failed: {last}")

    def end(self) -> None:
        """End all processes and start no more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


def _summary(study: Study, run: RunConfig) -> str:
    directory = _directory(run)
    evaluation = directory.read_json(directory.evaluation)
    protocol, arm, seed = _names(run)
    judged = {split: Judgement.from_json(j) for split, j in evaluation["splits"].items()}
    figures = study.figures(judged)
    return f"{protocol} {arm} {seed}: {figures} (epoch {evaluation['epoch']})"


def _report(
    setup: StudySetup, runs: Sequence[RunConfig], protocols: Iterable[str]
) -> Uri | Path:  # fmt: skip
    from itrec_dist import reports

    out = setup.out
    places = [_directory(run).path for run in runs]
    for folder in (_of_baselines(out, name) for name in protocols):
        if isinstance(folder, Uri):
            with contextlib.suppress(CheckpointError):  # there are none
                places += local_runs(folder)
        elif folder.is_dir():
            places.append(folder)
    results, page = (outputs.below(out, name) for name in ("results.md", "report.html"))
    with outputs.new_file(results) as building:
        building.write_text(setup.study.markdown(places), encoding="utf-8")
    reports.write(places, page, setup.study.title, overwrite=True)
    setup.say(f"results as Markdown: {results}")
    return page
