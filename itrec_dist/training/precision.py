"""Resolves `engine.precision=auto` for a run: once, to the same precision on all workers.

Only a worker knows its device, so the workers resolve it before they build anything. Worker 0 then
writes the result into the run's config.yaml, which checkpoints copy: a resumed run, `evaluate` and
`recommend` take it from there, on any machine.
"""

from dataclasses import replace

import torch
import yaml

from itrec_dist import config
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines.precision import PrecisionChoice
from itrec_dist.runs.checkpoints.format import CONFIG_FILE
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.storage import atomic
from itrec_dist.system import arithmetic
from itrec_dist.system.arithmetic import Precision
from itrec_dist.training.config import RunConfig

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


def settle(
    run: RunConfig, context: WorkerContext, able: frozenset[Precision] | None = None
) -> tuple[RunConfig, str | None]:
    """The run with its precision resolved, and a note for the user if there is one.

    A collective call, once the run directory is prepared. `auto` becomes the precision that the run
    was trained in before, or else the fastest one that no worker emulates. Worker 0 writes it into
    config.yaml.

    Args:
        run: the configuration, with any precision.
        context: this worker's context.
        able: the precisions that this worker's device computes in natively; None detects them.

    Raises:
        OutputError: config.yaml cannot be written.
    """
    directory = RunDirectory(run.folder)
    kept: Precision | None = None
    if run.engine.precision == "auto":
        kept = context.share(precision_of(directory) if context.rank == 0 else None)
    common = _common(context, arithmetic.native(context.device) if able is None else able)
    settled = with_precision(run, kept or arithmetic.fastest(common))
    if context.rank == 0 and settled != run:
        atomic.write_text(directory.config, config.to_yaml(settled))
    return settled, _note(run, settled, common, context.device)


def with_precision(run: RunConfig, precision: PrecisionChoice | None) -> RunConfig:
    """The run with `precision` in place of `auto`; an explicit precision is kept."""
    if run.engine.precision != "auto" or precision is None:
        return run
    return replace(run, engine=replace(run.engine, precision=precision))


def is_same(stored: RunConfig, run: RunConfig) -> bool:
    """Whether a run that was trained as `stored` has the configuration `run`, `auto` resolved."""
    return stored == with_precision(run, stored.engine.precision)


def precision_of(directory: RunDirectory) -> Precision | None:
    """The precision a run is trained in; None before its workers have resolved it."""
    for path in (directory.checkpoints / LAST / CONFIG_FILE, directory.config):
        try:
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))["engine"]["precision"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
        for precision in PRECISIONS:
            if stored == precision:
                return precision
    return None


def _common(context: WorkerContext, able: frozenset[Precision]) -> frozenset[Precision]:
    """The precisions that the devices of all workers compute in natively."""
    lacking = torch.tensor([float(p not in able) for p in PRECISIONS], device=context.device)
    counts = context.sum(lacking).tolist()
    return frozenset(p for p, count in zip(PRECISIONS, counts, strict=True) if not count)


def _note(
    asked: RunConfig, settled: RunConfig, common: frozenset[Precision], device: torch.device
) -> str | None:
    chosen, fastest = settled.engine.precision, arithmetic.fastest(common)
    name = "GPU" if device.type == "cuda" else "CPU"
    if chosen != "auto" and chosen not in common:
        return (
            f"engine.precision={chosen} is emulated by the {name}, which has no {chosen} "
            f"arithmetic: engine.precision={fastest} is several times faster"
        )
    if asked.engine.precision == "auto" and chosen != fastest:
        return (
            f"engine.precision={chosen}, which the run started with, is kept: a new run would use "
            f"{fastest} on this {name}"
        )
    return None
