"""What a sweep would do and how long it would take, for a dry run."""

from itrec_dist.sweeps import estimate, resources
from itrec_dist.sweeps.checks import Checked
from itrec_dist.sweeps.jobs import Say


def describe(checked: Checked, say: Say) -> None:
    """Say how many trials there are, what each takes, and how long all would take.

    A few steps of the base are trained to estimate it; nothing is written.
    """
    sweep, base = checked.sweep, checked.runs.base
    available = resources.local_resources()
    packing = resources.pack(sweep, base, available, resources.local_cores())
    if checked.runs.is_grouped:
        packing = resources.pack_groups(sweep, base, available, use_gpu=available["GPU"] > 0)
    num_runs = checked.count * sweep.seeds
    finals = sweep.final.candidates * sweep.final.seeds
    waves = -(-checked.count // packing.concurrent)
    taken = resources.describe(base, packing)
    size = estimate.size(base)
    say(f"trials: {checked.count}, each of {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}")
    say(f"each takes: {taken} (the base's model has {size.parameters:,} parameters)")
    say(f"concurrent: {packing.concurrent}, so {waves} waves")
    say(f"finals: {finals} runs ({sweep.final.candidates} x {sweep.final.seeds} fresh seeds)")
    refusals = estimate.invalid_trials(checked.runs, sweep.out, checked.assignments or [])
    say("measuring a few steps of the base ...")
    per_run = estimate.seconds_of_run(base)
    total = estimate.format_time(
        estimate.total_seconds(per_run, num_runs + finals, packing.concurrent)
    )
    least = estimate.least_runs(sweep, num_runs, base.training.epochs, len(checked.space.turns()))
    if least < num_runs:
        at_least = estimate.total_seconds(per_run, least + finals, packing.concurrent)
        total = f"{estimate.format_time(at_least)} to {total}, depending on how many are stopped"
    say(f"a run of the base takes {estimate.format_time(per_run)}; the sweep takes about {total}")
    if checked.assignments is None:
        say("would be refused: unknown, since trials depend on earlier results")
    else:
        say(f"would be refused: {len(refusals)} of {checked.count}")
    for line in refusals[:20]:
        say(f"  {line}")
