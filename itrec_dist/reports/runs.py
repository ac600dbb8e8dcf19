"""Finds run directories, reads them once, and checks them.

A file that a run has not written yet is an empty value; a damaged file is an error. `arms.py`
decides which runs belong together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from itrec_dist import metrics
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Seen
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.models import MODELS
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.seen import resolved
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks import TASKS


@dataclass(frozen=True)
class Epoch:
    """One line `epoch` of the log."""

    number: int
    loss: float | None
    seconds: float | None
    windows_per_second: float | None
    train: Judgement | None
    validation: Judgement | None
    is_best: bool


@dataclass(frozen=True)
class Run:
    """Everything that a report uses of one run."""

    path: Path
    kind: Literal["train", "baseline"]
    task: str
    """The task that it was trained for, or for a baseline, evaluated on."""
    name: str
    seed: int | None
    config: dict[str, Any]
    config_yaml: str
    manifest: Manifest | None
    environment: dict[str, Any]
    start: dict[str, Any]
    """The last `start` line: a resumed run writes several."""
    end: dict[str, Any]
    notes: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    """By number; if an epoch was trained again after an interruption, the last one."""
    judgements: Mapping[str, Judgement]
    """Split -> final judgement; empty while the run is incomplete, or if nothing is held out."""
    best_epoch: int | None
    samples: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    is_reference: bool = False
    """Whether the others are to be compared with it."""

    @property
    def is_complete(self) -> bool:
        """Whether the run has its final evaluation."""
        return bool(self.judgements)

    @property
    def has_nothing_to_judge(self) -> bool:
        """Whether its windows have neither a validation nor a test split."""
        held_out = (schema.VALIDATION, schema.TEST)
        return self.manifest is not None and not any(map(self.manifest.num_windows, held_out))

    @property
    def seen(self) -> Seen:
        """What its masked ranking leaves out."""
        evaluation = self.config.get("evaluation")
        given = evaluation.get("seen") if isinstance(evaluation, dict) else None
        samples = self.manifest.samples if self.manifest else "windows"
        return resolved(given if given in get_args(Seen) else None, samples)

    @property
    def planned_epochs(self) -> int | None:
        """Epochs that the run set out to train."""
        planned = number(self.start.get("epochs"))
        return None if planned is None else int(planned)


def number(value: Any) -> float | None:
    """`value` as a float, or None if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def find(places: Iterable[Path]) -> list[Path]:
    """The run directories among and below `places`, each once, in order of their paths.

    Raises:
        CheckpointError: a place does not exist, or holds no run directory.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise CheckpointError(
                f"there is no folder {place}: give run directories, or a folder that holds some"
            )
        runs = [place] if _is_run(place) else _below(place)
        if not runs:
            raise CheckpointError(
                f"{place} holds no run directory (a folder with config.yaml and log.jsonl or "
                "evaluation.json): give a folder that `itrec train` or `itrec baselines` wrote"
            )
        found.update(dict.fromkeys(run.resolve() for run in runs))
    return list(found)


def read(path: Path) -> Run:
    """Read one run directory.

    Raises:
        CheckpointError: `path` is no run directory, or one of its files is damaged.
        ShardsError: its manifest is of another version.
    """
    directory = RunDirectory.existing(path)
    config, config_yaml = _config(directory)
    _load_metrics(config)
    events = _events(directory)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(str(event.get("event")), []).append(event)
    start = by_kind.get("start", [{}])[-1]
    end = _end(events)
    evaluation = _mapping(directory, directory.evaluation)
    environment = _mapping(directory, directory.environment)
    epochs = _epochs(directory, by_kind.get("epoch", []))
    judgements = _judgements(directory, evaluation)
    kind = evaluation.get("kind", start.get("kind", "train"))
    seed = next(
        (s for s in (evaluation.get("seed"), config.get("seed"), environment.get("seed"))
         if isinstance(s, int)),
        None,
    )  # fmt: skip
    best = number(evaluation.get("epoch", end.get("best_epoch")))
    return Run(
        path=path,
        kind="baseline" if kind == "baseline" else "train",
        task=_task(config, [*judgements.values(), *(e.validation for e in epochs if e.validation)]),
        name=str(evaluation.get("name") or start.get("name") or path.name),
        seed=seed,
        config=config,
        config_yaml=config_yaml,
        manifest=_manifest(directory),
        environment=environment,
        start=start,
        end=end,
        notes=tuple(str(n.get("message", "")) for n in by_kind.get("note", [])),
        epochs=epochs,
        judgements=judgements,
        best_epoch=None if best is None else int(best),
        samples=_samples(directory),
        seconds=_seconds(by_kind, epochs),
    )


def _is_run(folder: Path) -> bool:
    """config.yaml alone also marks a checkpoint folder inside a run, so the log is asked for."""
    run = RunDirectory(folder)
    return run.config.is_file() and (run.log.is_file() or run.evaluation.is_file())


def _below(place: Path) -> list[Path]:
    folders = (p.parent for p in sorted(place.rglob("config.yaml")))
    return [
        folder
        for folder in folders
        if _is_run(folder)
        and not any(part.startswith(".") for part in folder.relative_to(place).parts)
    ]


def _damaged(path: Path, why: object) -> CheckpointError:
    reason = " ".join(str(why).split())
    return CheckpointError(
        f"{path} is damaged ({reason}): repair or remove it, or leave this run out"
    )


def _config(directory: RunDirectory) -> tuple[dict[str, Any], str]:
    try:
        text = directory.config.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _damaged(directory.config, error) from error
    if not isinstance(config, dict):
        raise _damaged(directory.config, "it holds no settings")
    if isinstance(config.get("loss"), str):  # of runs from before losses had settings
        config["loss"] = {"kind": config["loss"]}
    return config, text


def _events(directory: RunDirectory) -> list[dict[str, Any]]:
    try:
        events = directory.events()
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(directory.log, error) from error
    if not all(isinstance(event, dict) for event in events):
        raise _damaged(directory.log, "a line is not a JSON object")
    return events


def _mapping(directory: RunDirectory, path: Path) -> dict[str, Any]:
    """The JSON object in `path`, empty if the file does not exist yet."""
    if not path.is_file():
        return {}
    content = directory.read_json(path)
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no JSON object")
    return content


def _manifest(directory: RunDirectory) -> Manifest | None:
    content = _mapping(directory, directory.manifest)
    if not content:
        return None
    try:
        return Manifest.from_json(content, str(directory.manifest))
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(directory.manifest, f"missing or malformed: {error}") from error


def _judgements(directory: RunDirectory, evaluation: dict[str, Any]) -> dict[str, Judgement]:
    if not evaluation:
        return {}
    splits = evaluation.get("splits")
    if not isinstance(splits, dict):
        raise _damaged(directory.evaluation, "it has no splits")
    parsed = {split: _judgement(directory.evaluation, j) for split, j in splits.items()}
    return {split: judgement for split, judgement in parsed.items() if judgement is not None}


def _judgement(path: Path, content: Any) -> Judgement | None:
    if content is None:
        return None
    try:
        judgement = Judgement.from_json(content)
    except ValueError as error:
        raise _damaged(path, error) from error
    unknown = [group for group in judgement.groups if group not in metrics.groups()]
    if unknown:
        raise CheckpointError(
            f"{path} holds metrics of the group {unknown[0]}, which is not known here (there are: "
            f"{', '.join(metrics.groups())}): install the package that has these metrics, or "
            "leave this run out"
        )
    return judgement


def _load_metrics(config: dict[str, Any]) -> None:
    """Load the metrics that a run gave as `module:Class`, as far as they are installed."""
    evaluation = config.get("evaluation")
    more = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    for path in more or []:
        try:
            metrics.METRICS[path]
        except ConfigError:  # its values are shown under their plain names
            continue
        metrics.load([path])


def _task(config: dict[str, Any], judged: Sequence[Judgement]) -> str:
    """The task of the run's model; for a baseline, the first one that has its metrics."""
    model = config.get("model")
    kind = model.get("kind") if isinstance(model, dict) else None
    kind = model.get("kind") if isinstance(model, dict) else None
    if isinstance(kind, str) and kind in MODELS:
        return MODELS[kind].task
    groups = {group for judgement in judged for group in judgement.groups}
    having = (name for name in TASKS if groups & set(TASKS[name].groups))
    return next(having, ITEConfig.task)


def _epochs(directory: RunDirectory, lines: list[dict[str, Any]]) -> tuple[Epoch, ...]:
    epochs: dict[int, Epoch] = {}
    for line in lines:
        at = number(line.get("epoch"))
        if at is None:
            raise _damaged(directory.log, "an epoch line has no epoch number")
        epochs[int(at)] = Epoch(
            number=int(at),
            loss=number(line.get("loss")),
            seconds=number(line.get("seconds")),
            windows_per_second=number(line.get("windows_per_second")),
            train=_judgement(directory.log, line.get("train")),
            validation=_judgement(directory.log, line.get("validation")),
            is_best=line.get("is_best") is True,
        )
    return tuple(epochs[at] for at in sorted(epochs))


def _end(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The run's last `end` line, empty if the run was resumed after it and has not ended again."""
    marks = [event for event in events if event.get("event") in ("start", "end")]
    return marks[-1] if marks and marks[-1]["event"] == "end" else {}


def _seconds(by_kind: dict[str, list[dict[str, Any]]], epochs: tuple[Epoch, ...]) -> float | None:
    """Wall time of the run; for a resumed run, the total time of its epochs."""
    ended = number(by_kind.get("end", [{}])[-1].get("seconds"))
    if ended is not None and len(by_kind.get("start", [])) <= 1:
        return ended
    timed = [epoch.seconds for epoch in epochs if epoch.seconds is not None]
    return sum(timed) if timed else ended


def _samples(directory: RunDirectory) -> dict[str, Any]:
    """The sampled users; see `training/samples.py` for the format."""
    samples = _mapping(directory, directory.samples)
    users = samples.get("users", [])
    shaped = isinstance(users, list) and all(
        isinstance(user, dict)
        and all(
            isinstance(user.get(part), list) and all(isinstance(i, dict) for i in user[part])
            for part in ("watched", "actual", "predicted")
        )
        for user in users
    )
    if not shaped:
        raise _damaged(
            directory.samples, "users need the lists of items watched, actual and predicted"
        )
    return samples if users else {}
