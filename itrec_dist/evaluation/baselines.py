"""The baselines as runs: each fitted, judged and written as a run directory of its own.

Reports then treat a baseline as any other run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from itrec_dist import config
from itrec_dist.data import manifest, schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import ShardsError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import atomic
from itrec_dist.system import environment
from itrec_dist.tasks.next_items import baselines

if TYPE_CHECKING:
    from itrec_dist.metrics.ranking import Judge

SCORES_PER_BATCH = 4_000_000
MARKER = "config.yaml"
EVALUATED = (schema.VALIDATION, schema.TEST)


def judge_all(
    shards: Path, out: Path, chosen: Mapping[str, baselines.Baseline], *, overwrite: bool = False
) -> dict[str, dict[str, Any]]:
    """Write the run directory `out/name` of each baseline; returns name -> split -> Judgement.

    Raises:
        ItrecError: a folder cannot be used or memory is too small; nothing was written then.
    """
    for name in chosen:
        atomic.refuse_taken(out / name, marker=MARKER, overwrite=overwrite)
    described = manifest.read(shards)
    if not any(described.num_windows(split) for split in EVALUATED):
        raise ShardsError(
            f"{shards} has neither a validation nor a test split, so there is nothing to judge: "
            "window the data with other fractions"
        )
    for name in chosen:
        baselines.refuse_too_large(name, described.num_items)
    training = baselines.Training(
        shards,
        described,
        read_split(shards, described, schema.TRAIN),
        reader.read_items(shards, described),
    )
    splits = {
        split: read_split(shards, described, split)
        for split in EVALUATED
        if described.num_windows(split)
    }
    judgements = {}
    for name, settings in chosen.items():
        with atomic.new_directory(out / name, marker=MARKER, overwrite=overwrite) as building:
            directory = RunDirectory(building)
            judgements[name] = _judge_one(directory, name, settings, training, splits)
    return judgements


def _judge_one(
    directory: RunDirectory,
    name: str,
    settings: baselines.Baseline,
    training: baselines.Training,
    splits: dict[str, Windows],
) -> dict[str, Any]:
    """Fit and judge one baseline, filling its run directory; returns split -> Judgement."""
    begun = time.monotonic()
    described = training.manifest
    batch_size = max(1, min(4096, SCORES_PER_BATCH // max(1, described.num_items)))
    begin(directory, name, settings, (training.shards, described), batch_size)
    score = settings.fit(training)
    directory.append("note", message=f"fitted in {time.monotonic() - begun:.2f} s")
    judgements = {
        split: judge(score, windows, training, batch_size).judgement()
        for split, windows in splits.items()
    }
    finish(directory, name, described, judgements, begun)
    return judgements


def begin(
    directory: RunDirectory, name: str, settings: Any, data: tuple[Path, Manifest],
    batch_size: int | None = None,
) -> None:  # fmt: skip
    """Write what stands in a baseline's run directory before it is fitted; `data` is the shards."""
    shards, described = data
    values = {"kind": "baseline", "name": name, "shards": str(shards.absolute())}
    atomic.write_text(
        directory.config,
        yaml.safe_dump({**values, "settings": config.to_dict(settings)}, sort_keys=False),
    )
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


def finish(
    directory: RunDirectory, name: str, described: Manifest, judgements: dict[str, Any],
    begun: float,
) -> None:  # fmt: skip
    """Write the judgements, which say that the run is complete; `begun` is a monotonic time."""
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
            "splits": judgements,
        },
    )


def judge(
    score: baselines.Scorer, windows: Windows, training: baselines.Training, batch_size: int
) -> Judge:
    """Score all windows and count both rankings of each."""
    import torch

    from itrec_dist.metrics.ranking import Judge

    counted = Judge(torch.tensor(training.items.num_train_targets), training.manifest.target_length)
    for start in range(0, len(windows), batch_size):
        rows = slice(start, start + batch_size)
        item_ids_BL = torch.tensor(windows.item_ids[rows], dtype=torch.int64)
        target_ids_BK = torch.tensor(windows.target_ids[rows])
        weight_B = torch.ones(len(item_ids_BL))
        counted.update(score(item_ids_BL), item_ids_BL, target_ids_BK, weight_B)
    return counted
