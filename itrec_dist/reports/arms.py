"""Groups runs into arms (one configuration, several seeds) and sections (one data set).

Metrics are comparable only on the same windows and with the same items left out, so a section is
one fingerprint, protocol and setting of what was seen. The
runs of an arm have the same configuration, except for the seed and file locations.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from itrec_dist import metrics, tasks
from itrec_dist.config import flat
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Seen
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import LOSS, RANKINGS, FigureName
from itrec_dist.metrics.outcomes import Outcomes
from itrec_dist.models.ite import ITEConfig
from itrec_dist.reports import measures
from itrec_dist.reports.measures import Figure
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.runs import Run
from itrec_dist.tasks import TASKS

# Settings that do not distinguish arms: where a run reads and writes, and how it is evaluated.
_PLACES = frozenset({"seed", "shards", "input", "out", "overwrite", "resume", "evaluation"})


@dataclass(frozen=True)
class Arm:
    """Runs of one configuration on one data set, which differ only in their seed."""

    key: str
    label: str
    runs: tuple[Run, ...]

    @cached_property
    def complete(self) -> tuple[Run, ...]:
        """The complete runs: only they count in metrics."""
        return tuple(run for run in self.runs if run.is_complete)

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of the non-neural baselines."""
        return self.runs[0].kind == "baseline"

    @property
    def is_reference(self) -> bool:
        """Whether the others are to be compared with it, because one of its runs was named."""
        return any(run.is_reference for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the complete runs."""
        return sorted({run.seed for run in self.complete if run.seed is not None})

    @property
    def status(self) -> str:
        """What is missing, in words; empty if nothing is."""
        open_runs = [run for run in self.runs if not run.is_complete]
        if not open_runs:
            return ""
        if self.complete:
            return f"{len(open_runs)} of {len(self.runs)} runs incomplete, left out"
        furthest = max(len(run.epochs) for run in open_runs)
        planned = open_runs[0].planned_epochs
        epochs = f"{furthest} of {planned} epochs" if planned else f"{furthest} epochs"
        if all(run.has_nothing_to_judge for run in open_runs):
            return f"not evaluated, nothing is held out: {epochs}"
        if furthest == planned:
            epochs += ", not evaluated"
        return f"incomplete: {epochs}" if furthest else "incomplete: no epoch finished"

    def figure(self, split: str, name: FigureName) -> Figure:
        """Mean and spread of a final metric over the complete runs."""
        return measures.figure(
            run.judgements[split].value(name) for run in self.complete if split in run.judgements
        )

    @cached_property
    def outcomes(self) -> tuple[Outcomes, ...]:
        """What each complete run found for every test window; empty unless all recorded it."""
        found = [per_window.read(run.path) for run in self.complete]
        known = tuple(outcomes for outcomes in found if outcomes is not None)
        return known if len(known) == len(found) else ()

    def so_far(self, name: FigureName, by: FigureName) -> Figure:
        """Validation metric `name` at the best epoch so far by `by`, for incomplete arms."""
        best = (_best_yet(run, by) for run in self.runs)
        return measures.figure(judgement.value(name) for judgement in best if judgement)


@dataclass(frozen=True)
class Section:
    """Arms of one task that were trained and evaluated on the same windows."""

    fingerprint: str
    manifest: Manifest | None
    arms: tuple[Arm, ...]
    task: str = ITEConfig.task
    seen: Seen = "input"
    """What the masked ranking leaves out."""

    @property
    def protocol(self) -> str:
        """The split protocol, `unknown` if no run has a manifest yet."""
        return self.manifest.protocol if self.manifest else "unknown"

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The evaluated splits, validation first."""
        judged = {split for arm in self.arms for run in arm.runs for split in run.judgements}
        known = [split for split in schema.SPLITS[1:] if split in judged]
        if not judged:
            known = [schema.VALIDATION]
        return (*known, *sorted(judged - set(schema.SPLITS)))

    @property
    def final_split(self) -> str:
        """The test split, on which nothing was selected, if there is one; else validation."""
        return schema.TEST if schema.TEST in self.splits else self.splits[0]

    @property
    def is_papers(self) -> bool:
        """Whether the paper's published results are comparable with these."""
        return published_ite.applies(self.manifest)

    @cached_property
    def figures(self) -> list[FigureName]:
        """Every metric of some judgement except the loss, in printing order."""
        held = {name for judgement in self._judgements for name, _ in judgement.figures()}
        return metrics.in_order(held - {LOSS})

    @cached_property
    def headline(self) -> FigureName:
        """The main metric of the task, at the nearest available cut-off; arms are ranked by it."""
        samples = self.manifest.samples if self.manifest else "windows"
        own = TASKS[self.task].headline_of(samples)
        if self.seen == "none" and own.group in RANKINGS:  # which are the same then
            own = replace(own, group=RANKINGS[0])
        held = (f.cutoff for f in self.figures if (f.group, f.metric) == (own.group, own.metric))
        return own.nearest([cutoff for cutoff in held if cutoff is not None])

    @property
    def groups(self) -> list[str]:
        """The metric groups of the final judgements, such as both rankings."""
        final = (j for arm in self.arms for run in arm.runs for j in run.judgements.values())
        held = metrics.in_order(name for judgement in final for name, _ in judgement.figures())
        return list(dict.fromkeys(n.group for n in held if n.group)) or [self.headline.group]

    @cached_property
    def ranked(self) -> list[Arm]:
        """Arms from best to worst by the main metric on the final split, incomplete ones last."""
        return self.ranked_by(self.final_split, self.headline)

    def ranked_by(self, split: str, name: FigureName) -> list[Arm]:
        """Arms from best to worst by a metric; those without it come last, by name."""
        sign = 1.0 if metrics.lower_is_better(name) else -1.0

        def order(arm: Arm) -> tuple[bool, float, str]:
            mean = arm.figure(split, name).mean
            return mean is None, sign * (mean or 0.0), arm.label

        return sorted(self.arms, key=order)

    @property
    def _judgements(self) -> Iterator[Judgement]:
        for arm in self.arms:
            for run in arm.runs:
                yield from (*run.judgements.values(), *_of_epochs(run))


def sections(runs: Sequence[Run]) -> list[Section]:
    """Group runs by data, protocol and task, and within these by configuration without seed."""
    by_data: dict[tuple[str, str, str, Seen], list[Run]] = {}
    for run in runs:
        manifest = run.manifest
        data = (manifest.protocol, manifest.fingerprint) if manifest else ("unknown", "unknown")
        by_data.setdefault((*data, run.task, run.seen), []).append(run)
    order = {protocol: i for i, protocol in enumerate(tasks.protocols())}
    grouped = [
        Section(
            fingerprint=fingerprint,
            manifest=next((r.manifest for r in members if r.manifest), None),
            arms=_arms(members),
            task=task,
            seen=seen,
        )
        for (_, fingerprint, task, seen), members in by_data.items()
    ]
    return sorted(grouped, key=lambda s: (order.get(s.protocol, 99), len(s.splits), s.fingerprint))


def identity(run: Run) -> dict[str, Any]:
    """The settings that tell arms apart, by dotted name."""
    leaves = flat({key: v for key, v in run.config.items() if key not in _PLACES})
    return {name: v for name, v in leaves.items() if name.rpartition(".")[2] != "seed"}


def _key(run: Run) -> str:
    return json.dumps([run.kind, run.name, identity(run)], sort_keys=True, default=str)


def _arms(runs: Sequence[Run]) -> tuple[Arm, ...]:
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_key(run), []).append(run)
    labels = _labels({key: group[0] for key, group in members.items()})
    return tuple(
        Arm(key, labels[key], tuple(sorted(group, key=lambda r: (r.seed or 0, str(r.path)))))
        for key, group in members.items()
    )


def _labels(firsts: dict[str, Run]) -> dict[str, str]:
    """The run's name, plus, if several arms share it, the settings in which they differ."""
    names = {key: _name(run) for key, run in firsts.items()}
    labels = {}
    for key, run in firsts.items():
        others = [identity(r) for k, r in firsts.items() if names[k] == names[key] and k != key]
        words = _differing(identity(run), others)
        labels[key] = " · ".join([names[key], *words])
    return labels


def _differing(mine: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[str]:
    """The settings, in words, that tell one arm from others.

    One that another arm lacks, such as a run of an older version, tells them apart only where
    nothing else does.
    """
    held = {s for s in mine if any(s in other and other[s] != mine[s] for other in others)}
    for other in others:
        if not any(s in other and other[s] != mine[s] for s in mine):
            held |= mine.keys() - other.keys()
    return [f"{s.rpartition('.')[2].replace('_', ' ')} {mine[s]}" for s in mine if s in held]


def _name(run: Run) -> str:
    """The run's name, with loss and side information if it does not contain them."""
    arm = published_ite.arm(run.config) if run.kind == "train" else None
    if arm is None:
        return run.name
    said = set(re.split(r"[\W_]+", run.name.lower()))
    return run.name if said >= set(arm) else f"{run.name} · {' '.join(arm)}"


def _best_yet(run: Run, by: FigureName) -> Judgement | None:
    """The validation judgement of the best epoch."""
    judged = [judgement for judgement in _of_epochs(run) if judgement.value(by) is not None]
    best = min if metrics.lower_is_better(by) else max
    return best(judged, key=lambda judgement: judgement.value(by) or 0.0, default=None)


def _of_epochs(run: Run) -> list[Judgement]:
    return [e.validation for e in run.epochs if e.validation is not None]
