"""Findings about next items in sentences: which model ranks best, by how much, against what.

Two figures stand for all others: precision and hit rate at one cut-off, which the paper calls
Accuracy 1 and Accuracy 2; its names and figures are shown on its own data alone. Every word follows
from figures; nothing here is rounded before it is compared.
"""

import math
from dataclasses import replace

from itrec_dist.data import schema
from itrec_dist.metrics.metric import RANKINGS, FigureName
from itrec_dist.report import measures
from itrec_dist.report.arms import Arm, Section
from itrec_dist.report.measures import Figure
from itrec_dist.report.published import ite as published_ite
from itrec_dist.report.sections.section import left_out, nothing_yet

# Printed figures have four decimals, so a figure that rounds to the paper's has reached it.
_ROUNDING = 0.00005


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    found = []
    for group in rankings(section):
        found += _verdict(section, group)
    if not found:
        return [nothing_yet(section)]
    found += _behind(section)
    found += _gap(section)
    found += _against_paper(section)
    found += _sampling(section)
    found += left_out(section)
    return found


def rankings(section: Section) -> list[str]:
    """The rankings that were judged."""
    return [group for group in section.groups if group in RANKINGS]


def main_figures(section: Section, group: str = "unmasked") -> tuple[FigureName, FigureName]:
    """Precision and hit rate, by which arms are compared."""
    precision = replace(section.headline, group=group)
    return precision, replace(precision, metric="hit_rate")


def _verdict(section: Section, group: str) -> list[str]:
    """The best trained arm on the final split, and how it stands against the best baseline."""
    split = section.final_split
    precision, _ = main_figures(section, group)
    ranked = [arm for arm in section.ranked_by(split, precision) if arm.figure(split, precision).n]
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
        return [f"{best}. No baseline was judged on these windows, so nothing says how good it is."]
    return [f"{best}. {_comparison(section, trained, baseline, precision)}"]


def _behind(section: Section) -> list[str]:
    """The trained arms, the best one apart, that stay below the best baseline."""
    split = section.final_split
    behind: dict[str, list[str]] = {}
    found = []
    for group in rankings(section):
        precision, _ = main_figures(section, group)
        ranked = section.ranked_by(split, precision)
        means = {arm.label: arm.figure(split, precision).mean or 0.0 for arm in ranked}
        trained = [arm.label for arm in ranked if not arm.is_baseline and arm.complete]
        baselines = [arm.label for arm in ranked if arm.is_baseline]
        if not baselines:
            continue
        best = max(baselines, key=means.__getitem__)
        behind[group] = [label for label in trained[1:] if means[label] < means[best]]
        if behind[group]:
            names = measures.enumeration(
                [f"{label} ({measures.digits(means[label])})" for label in behind[group]]
            )
            found.append(
                f"On {split}, {in_words(group)}, these stay below the best baseline, {best} "
                f"({measures.digits(means[best])}): {names}."
            )
    if behind.get("unmasked") and "masked" in behind:
        freed = [label for label in behind["unmasked"] if label not in behind["masked"]]
        if freed:
            found.append(
                f"With the seen items masked, {measures.enumeration(freed)} are not below it: what "
                "they lose unmasked goes to items of the input that they recommend again."
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


def _comparison(section: Section, trained: Arm, baseline: Arm, precision: FigureName) -> str:
    split = section.final_split
    ours, theirs = (arm.figure(split, precision) for arm in (trained, baseline))
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
        said = f"It does not beat {against}: it stays {by} below"
    else:
        said = f"It does not beat {against}: the two are equal"
    return f"{said}{_within_spread(difference, ours)}."


def _within_spread(difference: float, ours: Figure) -> str:
    if ours.sd is None or abs(difference) >= 2 * ours.sd or difference == 0:
        return ""
    return ", a difference of less than two standard deviations over seeds, so it settles nothing"


def _gap(section: Section) -> list[str]:
    """How much of the validation figure was owed to choosing the epoch on it."""
    if schema.TEST not in section.splits or schema.VALIDATION not in section.splits:
        return (
            ["There is no test split: the figures stand on the very windows on which the best "
             "epoch was chosen, which flatters every trained model a little."]
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
        f"{arm.label} has {chosen.text} on validation, where its epoch was chosen, and "
        f"{judged.text} on test, which chose nothing: the second is the honest figure."
    ]


def _against_paper(section: Section) -> list[str]:
    """How many of the paper's arms reach what it prints, the paper's own way."""
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
            "Judged the paper's way (best epoch on validation, unmasked), at or above its printed "
            f"Accuracy 1: {measures.enumeration(reached)}."
        )
    if missed:
        found.append(f"Below the paper's printed Accuracy 1: {measures.enumeration(missed)}.")
    return found


def _sampling(section: Section) -> list[str]:
    """What the number of windows alone allows to tell apart."""
    split = section.final_split
    _, hit_rate = main_figures(section)
    arm = next((a for a in section.ranked if a.figure(split, hit_rate).mean), None)
    if arm is None:
        return []
    windows = arm.complete[0].judgements[split].num_windows
    rate = arm.figure(split, hit_rate).mean
    if not windows or rate is None or not 0 < rate < 1:
        return []
    margin = 1.96 * math.sqrt(rate * (1 - rate) / windows)
    return [
        f"{split.capitalize()} has {windows:,} windows, so a hit rate of {rate:.2f} carries a "
        f"sampling error of at least ±{margin:.3f} (95%), which the spread over seeds does not "
        "show."
    ]


def _spoken(section: Section, name: FigureName) -> str:
    papers = published_ite.name(name) if section.is_papers else None
    return f"{papers} ({measures.words(name)})" if papers else measures.words(name)


def in_words(group: str) -> str:
    """A ranking as sentences name it."""
    return "seen items masked" if group == "masked" else group
