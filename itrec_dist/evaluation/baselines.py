"""Fits and evaluates the baselines of a task, and writes each as a run directory of its own.

Reports then treat a baseline like any other run.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.data import manifest, schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import fetch
from itrec_dist.errors import ShardsError
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.models.seen import refuse_without_history
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import atomic, outputs
from itrec_dist.storage.uri import Uri
from itrec_dist.system import environment
from itrec_dist.tasks.baselines import TaskBaselines

MARKER = "config.yaml"
EVALUATED = (schema.VALIDATION, schema.TEST)


def judge_all(
    baselines: TaskBaselines[Any, Any, Any],
    place: Uri | Path,
    out: Uri | Path,
    chosen: Mapping[str, Any],
    *,
    overwrite: bool = False,
    choice: MetricChoice | None = None,
) -> dict[str, dict[str, Judgement]]:
    """Write the run directory `out/name` of each baseline; returns name -> split -> Judgement.

    `place` is the shards. `chosen` maps names of the task's baselines to their settings.

    Raises:
        ItrecError: a folder cannot be used, memory does not suffice or a package is missing;
            nothing has been written then.
    """
    for name in chosen:
        outputs.refuse_taken(outputs.below(out, name), marker=MARKER, overwrite=overwrite)
    shards = fetch.local(place)
    data = manifest.read(shards)
    choice = replace(choice or MetricChoice(), slices=True, outcomes=True)
    refuse_without_history(choice.seen, data.samples, "--seen")
    present = [split for split in EVALUATED if data.num_windows(split)]
    if not present:
        raise ShardsError(
            f"{shards} has neither a validation nor a test split, so there is nothing to evaluate: "
            "window the data with other fractions"
        )
    for name, settings in chosen.items():
        baselines.check(name, settings, data)
    training = baselines.training(shards, data)
    splits = {split: baselines.read(shards, data, split) for split in present}
    judgements = {}
    for name, settings in chosen.items():
        with outputs.new_directory(
            outputs.below(out, name), marker=MARKER, overwrite=overwrite
        ) as building:
            directory = RunDirectory(building)
            begun = time.monotonic()
            batch_size = baselines.batch_size(data)
            _begin(directory, name, settings, (place, data), choice, batch_size)
            fitted = settings.fit(training)
            directory.append("note", message=f"fitted in {time.monotonic() - begun:.2f} s")
            judgements[name] = {
                split: baselines.judge(fitted, rows, training, choice)
                for split, rows in splits.items()
            }
            if (tested := judgements[name].get(schema.TEST)) and tested.outcomes:
                per_window.save(directory, tested.outcomes)
            _finish(directory, name, data, judgements[name], begun)
    return judgements


def _begin(
    directory: RunDirectory, name: str, settings: Any, data: tuple[Uri | Path, Manifest],
    choice: MetricChoice, batch_size: int | None,
) -> None:  # fmt: skip
    """Write the files of a baseline's run directory that precede its fit; `data` is the shards."""
    shards, described = data
    values = {
        "kind": "baseline",
        "name": name,
        "shards": str(shards if isinstance(shards, Uri) else shards.absolute()),
        "settings": config.to_dict(settings),
        "evaluation": {"cutoffs": choice.cutoffs, "metrics": choice.more, "seen": choice.seen},
    }
    atomic.write_text(directory.config, config.as_yaml(values))
    directory.write_json(directory.manifest, described.to_json())
    directory.write_json(directory.environment, environment.record(seed=None))
    directory.append(
        "start",
        kind="baseline",
        name=name,
        workers=1,
        batch_size=batch_size,
        epochs=0,
        num_parameters=None,
        steps_per_epoch=0,
    )


def _finish(
    directory: RunDirectory, name: str, described: Manifest, judgements: dict[str, Judgement],
    begun: float,
) -> None:  # fmt: skip
    """Write the judgements, which mark the run as complete; `begun` is a monotonic time."""
    directory.append(
        "end", reason="finished", best_epoch=None, seconds=round(time.monotonic() - begun, 3)
    )
    directory.write_json(
        directory.evaluation,
        {
            "kind": "baseline",
            "name": name,
            "checkpoint": None,
            "epoch": None,
            "seed": None,
            "fingerprint": described.fingerprint,
            "splits": {split: j.to_json() for split, j in judgements.items()},
        },
    )
