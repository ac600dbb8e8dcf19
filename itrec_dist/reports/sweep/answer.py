"""The answer of a sweep in sentences: the recommendation, its quality, and the evidence."""

from itrec_dist.data import schema
from itrec_dist.evaluation.statistics import Interval
from itrec_dist.metrics.metric import RANKINGS
from itrec_dist.reports import measures
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.sweep import schedule
from itrec_dist.reports.sweep.runs import Finalist, Sweep
from itrec_dist.sweeps.directory import Trial, describe_failures, format_assignment
from itrec_dist.sweeps.pareto import front

COSTS = {
    "seconds": "seconds of a run",
    "windows_per_second": "windows per second in training",
    "num_parameters": "parameters",
}
_NAMED = 6  # trials of a front that a sentence lists
MIN_TRIALS = 4  # with fewer, importances are noise


def sentences(sweep: Sweep) -> list[str]:
    """The findings, the answer first."""
    if not sweep.finalists:
        return [*_without_finals(sweep), *_failures(sweep), *_summary(sweep)]
    found = [_recommended(sweep, sweep.finalists[0]), *_failures(sweep)]
    found += filter(None, [schedule.sentence(sweep.finalists[0].trial)])
    if len(sweep.finalists) > 1:
        found.append(_against_next(sweep))
    found += _trade_off(sweep)
    found += _honesty(sweep)
    return [*found, *_summary(sweep)]


def metric_name(sweep: Sweep) -> str:
    """The metric in words, as `Precision@5, unmasked`."""
    name = sweep.metric
    paper = published_ite.name(name) if sweep.is_papers else None
    words = measures.label(name) + (f" ({paper})" if paper else "")
    return f"{words}, {name.group}" if name.group in RANKINGS else words


def name(trial: Trial) -> str:
    """A trial in words."""
    return f"trial {trial.label} ({format_assignment(trial.assignment)})"


def with_interval(found: Interval | None) -> str:
    """`0.1302 ± 0.0021`, the half width of the 95 % interval."""
    if found is None:
        return measures.MISSING
    if found.half is None:
        return measures.digits(found.mean)
    return f"{measures.digits(found.mean)}\u00a0±\u00a0{measures.digits(found.half)}"


def _recommended(sweep: Sweep, first: Finalist) -> str:
    judged = first.interval(schema.TEST, sweep.metric)
    if judged is None:
        return f"Recommended: {name(first.trial)}. It has no result on test."
    said = (
        f"Recommended: {name(first.trial)}. On test it reaches {metric_name(sweep)} "
        f"{with_interval(judged)}"
    )
    if judged.half is None:
        return f"{said}, with one fresh seed, so its spread is unknown."
    return (
        f"{said} (mean and 95% interval over {judged.n} fresh seeds; it was chosen among the "
        "finalists by their mean on validation, not on test)."
    )


def _against_next(sweep: Sweep) -> str:
    second, verdict = sweep.finalists[1], sweep.verdict
    judged = second.interval(schema.TEST, sweep.metric)
    beside = f"the runner-up, {name(second.trial)}, which reaches {with_interval(judged)}"
    if verdict is None:
        return f"Next is {beside}; they were not compared window by window."
    words = f"{measures.words(sweep.paired_figure)}, {sweep.paired_figure.group}"
    is_sure = "It is distinguishable from" if verdict.is_distinguishable else "It is not "
    if not verdict.is_distinguishable:
        is_sure += "distinguishable from"
    cost = sweep.config.search.against
    if cost and cost in second.trial.outcome.cost and cost in sweep.finalists[0].trial.outcome.cost:
        costs = (f.trial.outcome.cost[cost] for f in (second, sweep.finalists[0]))
        beside += " at {:,.4g} {words} against {:,.4g}".format(*costs, words=COSTS[cost])
    chance = "users and seeds" if verdict.knows_seeds else "users only, seeds unknown"
    more = "" if verdict.is_distinguishable else ": take whichever is cheaper"
    return (
        f"{is_sure} {beside}: on the same {verdict.num_windows:,} test windows of "
        f"{verdict.num_users:,} users the difference is {verdict.difference:+.4f} (95% interval "
        f"{verdict.low:+.4f} to {verdict.high:+.4f} over {chance}, p = {verdict.p:.3f}; "
        f"{words}){more}."
    )


def _trade_off(sweep: Sweep) -> list[str]:
    """The trade-offs on the front, if the search had a cost."""
    cost = sweep.config.search.against
    found = front(sweep.config, cost, sweep.ranked) if cost else []
    if cost is None or not found:
        return []
    shown = [
        f"trial {t.label} ({measures.digits(t.outcome.value)}, {t.outcome.cost[cost]:,.4g})"
        for t in (found if len(found) <= _NAMED else [*found[: _NAMED - 1], found[-1]])
    ]
    left = "" if len(found) <= _NAMED else f", {len(found) - _NAMED} between the last two omitted"
    return [
        f"No other trial beats these both in {metric_name(sweep)} and in {COSTS[cost]}: "
        f"{measures.enumeration(shown)} on validation{left}. The finalists are the first of them; "
        "the next one is worse and cheaper."
    ]


def _honesty(sweep: Sweep) -> list[str]:
    """How much of the search's best result is due to selecting the best of many."""
    best = sweep.ranked[0] if sweep.ranked else None
    finalist = next((f for f in sweep.finalists if best and f.trial.number == best.number), None)
    fresh = finalist.interval(schema.VALIDATION, sweep.metric) if finalist else None
    if best is None or best.outcome.value is None or fresh is None:
        return []
    return [
        f"The best of the {len(sweep.ranked)} trials, {best.label}, had "
        f"{measures.digits(best.outcome.value)} on validation; with fresh seeds the same "
        f"configuration has {with_interval(fresh)} there. Only the first value is biased by "
        "selecting the best trial."
    ]


def _without_finals(sweep: Sweep) -> list[str]:
    if not sweep.ranked:
        return ["No trial is complete: there is nothing to recommend yet."]
    best = sweep.ranked[0]
    return [
        f"Best so far: {name(best)} with {metric_name(sweep)} "
        f"{measures.digits(best.outcome.value)} on validation. It was selected as the best "
        f"of {len(sweep.ranked)}, which flatters it: no finalist is evaluated on test yet."
    ]


def _failures(sweep: Sweep) -> list[str]:
    """The failed trials, which the answer ignores although they might be better."""
    failures = describe_failures(sweep.trials)
    return [f"The best of the others only: {failures}."] if failures else []


def _summary(sweep: Sweep) -> list[str]:
    counts = {status: len(sweep.having(status)) for status in
              ("complete", "stopped", "failed", "refused", "open")}  # fmt: skip
    words = {
        "complete": "complete", "stopped": "stopped by the scheduler", "failed": "failed",
        "refused": "refused", "open": "cut off",
    }  # fmt: skip
    counted = [f"{count} {words[status]}" for status, count in counts.items() if count]
    seeds = f" of {sweep.config.seeds} seeds each" if sweep.config.seeds > 1 else ""
    found = [
        f"{len(sweep.trials)} trials{seeds} ({sweep.config.search.algorithm} search): "
        f"{measures.enumeration(counted)}; {measures.duration(sweep.seconds)} in all, "
        f"{sweep.workers} at a time."
    ]
    exchanges = sum(len(e["taken"]) for e in sweep.directory.events("exchange"))
    if exchanges:
        found.append(
            f"{exchanges} times a trial continued from a better one (population-based training), "
            "so trials are not independent of each other."
        )
    if sweep.failed_finals:
        found.append(f"{len(sweep.failed_finals)} final runs failed and are left out.")
    return found
