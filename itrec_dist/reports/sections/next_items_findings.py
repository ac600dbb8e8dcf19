"""Findings of the task next_items in sentences: which model ranks best, and by how much.

Two metrics represent all others: the headline and the hit rate at its cut-off. On the paper's
windows these are its Accuracy 1 and Accuracy 2; its names and results are shown only there. Values
are compared before rounding.
"""

import math
from dataclasses import replace

from itrec_dist.data import schema
from itrec_dist.metrics.metric import RANKINGS, FigureName
from itrec_dist.reports import gains, measures, slices
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.measures import Figure
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.sections.section import left_out, nothing_yet

# Published results have four decimals, so a value that rounds to the paper's has reached it.
_ROUNDING = 0.00005


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    found = []
    for group in rankings(section):
        found += _verdict(section, group)
    if not found:
        return [nothing_yet(section)]
    found += _behind(section)
    found += gains.sentences(section)
    found += _gap(section)
    found += _against_paper(section)
    found += _sampling(section)
    found += slices.sentences(section)
    found += left_out(section)
    return found


def rankings(section: Section) -> list[str]:
    """The evaluated rankings, that of the headline first.

    Where nothing is left out the two are one.
    """
    held = [group for group in section.groups if group in RANKINGS]
    if section.seen == "none":
        return [section.headline.group] if held else []
    return sorted(held, key=lambda group: group != section.headline.group)


def main_figures(section: Section, group: str | None = None) -> tuple[FigureName, FigureName]:
    """The two metrics that arms are compared by: the headline, and the hit rate at its cut-off.

    Of the headline's ranking unless another one is given.
    """
    main = section.headline if group is None else replace(section.headline, group=group)
    return main, replace(main, metric="hit_rate")


def _verdict(section: Section, group: str) -> list[str]:
    """The best trained arm on the final split, compared with the best baseline."""
    split = section.final_split
    main, _ = main_figures(section, group)
    ranked = [arm for arm in section.ranked_by(split, main) if arm.figure(split, main).n]
    trained = next((arm for arm in ranked if not arm.is_baseline), None)
    baseline = next((arm for arm in ranked if arm.is_baseline), None)
    where = f"On {split}, {in_words(group)}"
    if trained is None and baseline is None:
        return []
    if trained is None:
        assert baseline is not None
        return [f"{where}, the best baseline is {_reached(section, baseline, group)}."]
    best = f"{where}, the best trained model is {_reached(section, trained, group)}"
    if baseline is None:
        return [f"{best}. No baseline was evaluated on these windows to compare it with."]
    return [f"{best}. {_comparison(section, trained, baseline, main)}"]


def _behind(section: Section) -> list[str]:
    """The trained arms, except the best one, that are below the best baseline."""
    split = section.final_split
    behind: dict[str, list[str]] = {}
    found = []
    for group in rankings(section):
        main, _ = main_figures(section, group)
        ranked = section.ranked_by(split, main)
        means = {arm.label: arm.figure(split, main).mean or 0.0 for arm in ranked}
        trained = [arm.label for arm in ranked if not arm.is_baseline and arm.complete]
        baselines = [arm.label for arm in ranked if arm.is_baseline]
        if not baselines:
            continue
        best = max(baselines, key=means.__getitem__)
        behind[group] = [label for label in trained if means[label] < means[best]]
        if others := [label for label in behind[group] if label != trained[0]]:
            names = measures.enumeration(
                [f"{label} ({measures.digits(means[label])})" for label in others]
            )
            found.append(
                f"On {split}, {in_words(group)}, these are below the best baseline, {best} "
                f"({measures.digits(means[best])}): {names}."
            )
    if behind.get("unmasked") and "masked" in behind:
        freed = [label for label in behind["unmasked"] if label not in behind["masked"]]
        if freed:
            found.append(
                f"With the seen items masked, {measures.enumeration(freed)} are not below it: "
                "unmasked, they lose by recommending items of the input again."
            )
    return found


def _reached(section: Section, arm: Arm, group: str) -> str:
    said = []
    for name in main_figures(section, group):
        figure = arm.figure(section.final_split, name)
        if figure.n:
            said.append(f"{_spoken(section, name)} {figure.text}")
    seeds = "" if arm.is_baseline else f" ({_seeds(arm)})"
    return f"{arm.label}: {measures.enumeration(said)}{seeds}"


def _seeds(arm: Arm) -> str:
    n = len(arm.complete)
    if n == 1:
        return "one run, so its spread over seeds is unknown"
    return f"mean ± standard deviation over {n} {'seeds' if len(arm.seeds) == n else 'runs'}"


def _comparison(section: Section, trained: Arm, baseline: Arm, main: FigureName) -> str:
    split = section.final_split
    ours, theirs = (arm.figure(split, main) for arm in (trained, baseline))
    assert ours.mean is not None
    assert theirs.mean is not None
    difference = ours.mean - theirs.mean
    by = f"{measures.digits(abs(difference))} ({abs(difference) / theirs.mean:.1%})" if (
        theirs.mean > 0
    ) else measures.digits(abs(difference))  # fmt: skip
    against = f"the best baseline, {baseline.label} ({theirs.text})"
    if difference > 0:
        said = f"It beats {against} by {by}"
    elif difference < 0:
        said = f"It does not beat {against}: it is {by} below"
    else:
        said = f"It does not beat {against}: the two are equal"
    return f"{said}{_within_spread(difference, ours)}."


def _within_spread(difference: float, ours: Figure) -> str:
    if ours.sd is None or abs(difference) >= 2 * ours.sd or difference == 0:
        return ""
    return ", less than two standard deviations over seeds, so the difference is not conclusive"


def _gap(section: Section) -> list[str]:
    """How much of the validation result is due to selecting the epoch on it."""
    if schema.TEST not in section.splits or schema.VALIDATION not in section.splits:
        return (
            ["There is no test split: the results are on the same windows on which the best epoch "
             "was selected, which favours every trained model a little."]
            if section.splits == (schema.VALIDATION,) and any(a.complete for a in section.arms
                                                              if not a.is_baseline)
            else []
        )  # fmt: skip
    arm = next((a for a in section.ranked if not a.is_baseline and a.complete), None)
    if arm is None:
        return []
    chosen = arm.figure(schema.VALIDATION, section.headline)
    judged = arm.figure(schema.TEST, section.headline)
    if chosen.mean is None or judged.mean is None:
        return []
    return [
        f"{arm.label} has {chosen.text} on validation, where its epoch was selected, and "
        f"{judged.text} on test, where nothing was selected: the second is the unbiased one."
    ]


def _against_paper(section: Section) -> list[str]:
    """Which of the paper's arms reach its results, evaluated in the paper's way."""
    if not section.is_papers or schema.VALIDATION not in section.splits:
        return []
    accuracy = published_ite.ACCURACY_1
    reached: list[str] = []
    missed: list[str] = []
    for arm in section.arms:
        printed = {} if arm.is_baseline else published_ite.printed(arm.runs[0].config)
        ours = arm.figure(schema.VALIDATION, accuracy).mean
        if not printed or ours is None:
            continue
        theirs = printed[accuracy.key]
        words = f"{arm.label} ({measures.digits(ours)}, printed {theirs:.4f})"
        (reached if ours >= theirs - _ROUNDING else missed).append(words)
    found = []
    if reached:
        found.append(
            "Evaluated in the paper's way (best epoch on validation, unmasked), at or above its "
            f"printed Accuracy 1: {measures.enumeration(reached)}."
        )
    if missed:
        found.append(f"Below the paper's printed Accuracy 1: {measures.enumeration(missed)}.")
    return found


def _sampling(section: Section) -> list[str]:
    """The sampling error that follows from the number of windows."""
    split = section.final_split
    _, hit_rate = main_figures(section)
    arm = next((a for a in section.ranked if a.figure(split, hit_rate).mean), None)
    if arm is None:
        return []
    # Trials of a sweep are judged on validation alone, finalists on test too.
    windows = next(r.judgements[split] for r in arm.complete if split in r.judgements).num_windows
    rate = arm.figure(split, hit_rate).mean
    if not windows or rate is None or not 0 < rate < 1:
        return []
    margin = 1.96 * math.sqrt(rate * (1 - rate) / windows)
    return [
        f"{split.capitalize()} has {windows:,} windows, so a hit rate of {rate:.2f} has a "
        f"sampling error of at least ±{margin:.3f} (95%), which the spread over seeds does not "
        "show."
    ]


def _spoken(section: Section, name: FigureName) -> str:
    papers = published_ite.name(name) if section.is_papers else None
    return f"{papers} ({measures.words(name)})" if papers else measures.words(name)


def in_words(group: str) -> str:
    """The name of a ranking in a sentence."""
    return "seen items masked" if group == "masked" else group
