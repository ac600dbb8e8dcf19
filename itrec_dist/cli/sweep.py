"""`itrec sweep`: search over configurations, then judge the best on the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itrec_dist.config import Parser, pick
from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from itrec_dist.sweep.checks import Checked


def parser() -> Parser:
    """The command's options: a sweep's settings, and how to start it."""
    from itrec_dist.sweep.config import SweepConfig

    options = Parser(
        "itrec sweep",
        "Search over the settings of training runs, train the best configurations again with fresh "
        "seeds, judge those on the test split, and write one report.",
    )
    options.add_config_file()
    options.add_argument(
        "--dry_run", action="store_true",
        help="Say how many trials there are, what each takes, how long all will take by a measured "
        "step, and what would be refused; nothing is written.",
    )  # fmt: skip
    options.add_argument(
        "--resume", action="store_true",
        help="Go on with the sweep in its directory: what is complete is not run again.",
    )  # fmt: skip
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the sweep directory if it exists."
    )
    options.add_argument(
        "--address", type=str | None, default=None,
        help="Ray cluster to use, such as auto; without it one is started on this machine.",
    )  # fmt: skip
    options.add_class_arguments(SweepConfig)
    return options


def run(parsed: Any) -> int:
    """Search, judge the finalists, write the results."""
    import shutil

    from itrec_dist import report
    from itrec_dist.storage import atomic
    from itrec_dist.sweep import RECIPE, checks, driver
    from itrec_dist.sweep.config import SweepConfig

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
    written = report.write_sweep(directory.path, overwrite=True)
    print(f"results: {directory.results_md} and {directory.results_csv}")
    print(f"report: {written}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _dry_run(checked: Checked) -> None:
    from itrec_dist.sweep import estimate
    from itrec_dist.sweep import resources as sweep_resources

    sweep, base = checked.sweep, checked.runs.base
    resources = sweep_resources.local_resources()
    share = sweep_resources.share(sweep, base, resources, sweep_resources.local_cores())
    if checked.runs.is_grouped:
        share = sweep_resources.share_of_groups(
            sweep, base, resources, use_gpu=resources["GPU"] > 0
        )
    num_runs = checked.count * sweep.seeds
    finals = sweep.final.candidates * sweep.final.seeds
    waves = -(-checked.count // share.concurrent)
    taken = sweep_resources.told_share(base, share)
    size = estimate.size(base)
    print(f"trials: {checked.count}, each of {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}")
    print(f"each takes: {taken} (the base's model has {size.parameters:,} parameters)")
    print(f"at a time: {share.concurrent}, so {waves} waves")
    print(f"finals: {finals} runs ({sweep.final.candidates} x {sweep.final.seeds} fresh seeds)")
    refusals = estimate.refused(checked.runs, sweep.out, checked.assignments or [])
    print("measuring a few steps of the base ...", flush=True)
    per_run = estimate.seconds_of_run(base)
    total = estimate.told_time(estimate.total_seconds(per_run, num_runs + finals, share.concurrent))
    least = estimate.least_runs(sweep, num_runs, base.training.epochs, len(checked.space.turns()))
    if least < num_runs:
        at_least = estimate.total_seconds(per_run, least + finals, share.concurrent)
        total = f"{estimate.told_time(at_least)} to {total}, as the scheduler stops more or fewer"
    print(f"a run of the base takes {estimate.told_time(per_run)}, all about {total}")
    if checked.assignments is None:
        print("would be refused: unknown, since outcomes decide what is tried")
    else:
        print(f"would be refused: {len(refusals)} of {checked.count}")
    for line in refusals[:20]:
        print(f"  {line}")
