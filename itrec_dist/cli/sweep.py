"""`itrec sweep`: search over configurations, then evaluate the best on the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itrec_dist.config import Parser, pick
from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from itrec_dist.sweeps.checks import Checked


def parser() -> Parser:
    """The command's options: a sweep's settings, and how to start it."""
    from itrec_dist.sweeps.config import SweepConfig

    options = Parser(
        "itrec sweep",
        "Search over the settings of training runs, retrain the best configurations with fresh "
        "seeds, evaluate those on the test split, and write one report.",
    )
    options.add_config_file()
    options.add_argument(
        "--dry_run", action="store_true",
        help="Print the number of trials, the resources of each, an estimate of the total time "
        "from a few measured steps, and which trials would be refused; nothing is written.",
    )  # fmt: skip
    options.add_argument(
        "--resume", action="store_true",
        help="Continue the sweep in its directory; completed runs are not repeated.",
    )  # fmt: skip
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the sweep directory if it exists."
    )
    options.add_argument(
        "--address", type=str | None, default=None,
        help="Ray cluster to join, such as auto; default: start one on this machine.",
    )  # fmt: skip
    options.add_class_arguments(SweepConfig)
    return options


def run(parsed: Any) -> int:
    """Search, evaluate the finalists, write the results."""
    import shutil

    from itrec_dist import reports
    from itrec_dist.storage import atomic
    from itrec_dist.sweeps import RECIPE, checks, driver
    from itrec_dist.sweeps.config import SweepConfig

    if parsed.resume and parsed.overwrite:
        raise ConfigError("--resume keeps a sweep and --overwrite replaces it: give one of them")
    checked = checks.checked(pick(SweepConfig, parsed))
    if parsed.dry_run:
        _dry_run(checked)
        return 0
    out = checked.sweep.out
    if not parsed.resume:
        atomic.refuse_taken(out, marker=RECIPE, overwrite=parsed.overwrite)
        if out.exists():
            shutil.rmtree(out)
    directory = driver.run(checked, resume=parsed.resume, address=parsed.address, say=_say)
    written = reports.write_sweep(directory.path, overwrite=True)
    print(f"results: {directory.results_md} and {directory.results_csv}")
    print(f"report: {written}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _dry_run(checked: Checked) -> None:
    from itrec_dist.sweeps import estimate
    from itrec_dist.sweeps import resources as sweep_resources

    sweep, base = checked.sweep, checked.runs.base
    resources = sweep_resources.local_resources()
    packing = sweep_resources.pack(sweep, base, resources, sweep_resources.local_cores())
    if checked.runs.is_grouped:
        packing = sweep_resources.pack_groups(sweep, base, resources, use_gpu=resources["GPU"] > 0)
    num_runs = checked.count * sweep.seeds
    finals = sweep.final.candidates * sweep.final.seeds
    waves = -(-checked.count // packing.concurrent)
    taken = sweep_resources.describe(base, packing)
    size = estimate.size(base)
    print(f"trials: {checked.count}, each of {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}")
    print(f"each takes: {taken} (the base's model has {size.parameters:,} parameters)")
    print(f"concurrent: {packing.concurrent}, so {waves} waves")
    print(f"finals: {finals} runs ({sweep.final.candidates} x {sweep.final.seeds} fresh seeds)")
    refusals = estimate.invalid_trials(checked.runs, sweep.out, checked.assignments or [])
    print("measuring a few steps of the base ...", flush=True)
    per_run = estimate.seconds_of_run(base)
    total = estimate.format_time(
        estimate.total_seconds(per_run, num_runs + finals, packing.concurrent)
    )
    least = estimate.least_runs(sweep, num_runs, base.training.epochs, len(checked.space.turns()))
    if least < num_runs:
        at_least = estimate.total_seconds(per_run, least + finals, packing.concurrent)
        total = f"{estimate.format_time(at_least)} to {total}, depending on how many are stopped"
    print(f"a run of the base takes {estimate.format_time(per_run)}; the sweep takes about {total}")
    if checked.assignments is None:
        print("would be refused: unknown, since trials depend on earlier results")
    else:
        print(f"would be refused: {len(refusals)} of {checked.count}")
    for line in refusals[:20]:
        print(f"  {line}")
