"""The answer in plain sentences: which model is best, by how much, and against what.

Every word follows from figures; nothing here is rounded before it is compared.
"""

import math

from itrec_dist.data import schema
from itrec_dist.report import measures
from itrec_dist.report.arms import Arm, Section
from itrec_dist.report.measures import ACCURACY_1, ACCURACY_2, Figure
from itrec_dist.report.published import ite as published_ite
from itrec_dist.report.runs import Masking

# Printed figures have four decimals, so a figure that rounds to the paper's has reached it.
_ROUNDING = 0.00005


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    found = []
    for masking in section.maskings:
        found += _verdict(section, masking)
    if not found:
        return [_nothing_yet(section)]
    found += _behind(section)
    found += _gap(section)
    found += _against_paper(section)
    found += _sampling(section)
    found += _left_out(section)
    return found


def _verdict(section: Section, masking: Masking) -> list[str]:
    """The best trained arm on the final split, and how it stands against the best baseline."""
    split = section.final_split
    ranked = [
        arm
        for arm in section.ranked_by(split, masking, ACCURACY_1)
        if arm.figure(split, masking, ACCURACY_1).n
    ]
    trained = next((arm for arm in ranked if not arm.is_baseline), None)
    baseline = next((arm for arm in ranked if arm.is_baseline), None)
    where = f"On {split}, {_masking(masking)}"
    if trained is None and baseline is None:
        return []
    if trained is None:
        assert baseline is not None
        return [f"{where}, the best baseline is {_reached(baseline, split, masking)}."]
    best = f"{where}, the best trained model is {_reached(trained, split, masking)}"
    if baseline is None:
        return [f"{best}. No baseline was judged on these windows, so nothing says how good it is."]
    return [f"{best}. {_comparison(section, trained, baseline, masking)}"]


def _behind(section: Section) -> list[str]:
    """The trained arms, the best one apart, that stay below the best baseline."""
    split = section.final_split
    behind: dict[Masking, list[str]] = {}
    found = []
    for masking in section.maskings:
        ranked = section.ranked_by(split, masking, ACCURACY_1)
        means = {arm.label: arm.figure(split, masking, ACCURACY_1).mean or 0.0 for arm in ranked}
        trained = [arm.label for arm in ranked if not arm.is_baseline and arm.complete]
        baselines = [arm.label for arm in ranked if arm.is_baseline]
        if not baselines:
            continue
        best = max(baselines, key=means.__getitem__)
        behind[masking] = [label for label in trained[1:] if means[label] < means[best]]
        if behind[masking]:
            names = measures.enumeration(
                [f"{label} ({measures.digits(means[label])})" for label in behind[masking]]
            )
            found.append(
                f"On {split}, {_masking(masking)}, these stay below the best baseline, {best} "
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


def _reached(arm: Arm, split: str, masking: Masking) -> str:
    first, second = (arm.figure(split, masking, m) for m in (ACCURACY_1, ACCURACY_2))
    hit_rate = f" and Accuracy 2 (hit rate@5) {second.text}" if second.n else ""
    seeds = "" if arm.is_baseline else f" ({_seeds(arm)})"
    return f"{arm.label}: Accuracy 1 (precision@5) {first.text}{hit_rate}{seeds}"


def _seeds(arm: Arm) -> str:
    n = len(arm.complete)
    if n == 1:
        return "one run, so its spread over seeds is unknown"
    return f"mean ± standard deviation over {n} {'seeds' if len(arm.seeds) == n else 'runs'}"


def _comparison(section: Section, trained: Arm, baseline: Arm, masking: Masking) -> str:
    split = section.final_split
    ours = trained.figure(split, masking, ACCURACY_1)
    theirs = baseline.figure(split, masking, ACCURACY_1)
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
    chosen = arm.figure(schema.VALIDATION, "unmasked", ACCURACY_1)
    judged = arm.figure(schema.TEST, "unmasked", ACCURACY_1)
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
    reached: list[str] = []
    missed: list[str] = []
    for arm in section.arms:
        printed = {} if arm.is_baseline else published_ite.printed(arm.runs[0].config)
        ours = arm.figure(schema.VALIDATION, "unmasked", ACCURACY_1).mean
        if not printed or ours is None:
            continue
        words = f"{arm.label} ({measures.digits(ours)}, printed {printed[ACCURACY_1]:.4f})"
        (reached if ours >= printed[ACCURACY_1] - _ROUNDING else missed).append(words)
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
    arm = next((a for a in section.ranked if a.figure(split, "unmasked", ACCURACY_2).mean), None)
    if arm is None:
        return []
    windows = arm.complete[0].judgements[split].num_windows
    rate = arm.figure(split, "unmasked", ACCURACY_2).mean
    if not windows or rate is None or not 0 < rate < 1:
        return []
    margin = 1.96 * math.sqrt(rate * (1 - rate) / windows)
    return [
        f"{split.capitalize()} has {windows:,} windows, so a hit rate of {rate:.2f} carries a "
        f"sampling error of at least ±{margin:.3f} (95%), which the spread over seeds does not "
        "show."
    ]


def _left_out(section: Section) -> list[str]:
    open_arms = [arm.label for arm in section.arms if not arm.complete]
    if not open_arms:
        return []
    verb = "is" if len(open_arms) == 1 else "are"
    return [f"{measures.enumeration(open_arms)} {verb} not complete and not counted here."]


def _nothing_yet(section: Section) -> str:
    runs = sum(len(arm.runs) for arm in section.arms)
    which = "The run has no" if runs == 1 else f"None of the {runs} runs has a"
    return f"{which} final judgement yet: the figures below are provisional."


def _masking(masking: Masking) -> str:
    return "seen items masked" if masking == "masked" else "unmasked"
