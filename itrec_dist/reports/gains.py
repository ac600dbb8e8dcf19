"""What each model gains: paired tests on the same test windows.

Every trained arm is compared with the linear baseline, one with side information with the same
model without any, and every arm with the run that the report was told to compare with. A comparison
needs what every run found for each window (`evaluation/per_window.py`); arms that lack it are left
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from itrec_dist.data import schema
from itrec_dist.evaluation import statistics
from itrec_dist.evaluation.statistics import Comparison
from itrec_dist.metrics.metric import RANKINGS, FigureName
from itrec_dist.reports import measures
from itrec_dist.reports.arms import Arm, Section, identity
from itrec_dist.reports.published import leaderboard
from itrec_dist.reports.tables import Cell, Column, Row, Table, row

BASELINE = "linear_history"
"""The baseline that models must beat: decayed history to next item, linear, in closed form."""

NO_DIFFERENCE = "no difference that this test can show"

_ADDED = {
    "side_information": "none", "scores_features": True, "rating": False, "event_context": [],
    "event_features": [], "time_of_query": False,
}  # fmt: skip
"""The settings of a model by which it is told more than items, and their values where it is not."""

_ALPHA = 0.05


@dataclass(frozen=True)
class Gain:
    """An arm compared with another one, by the main metric and by the hit rate."""

    arm: Arm
    against: Arm
    tests: tuple[Comparison, Comparison]
    corrected: tuple[float, float]
    """Their p-values, corrected for the number of comparisons of the section."""

    @property
    def verdict(self) -> str:
        """What the test of the main metric says."""
        if not self.tests[0].is_distinguishable:
            return NO_DIFFERENCE
        if self.corrected[0] >= _ALPHA:
            return f"{NO_DIFFERENCE} among so many"
        return "better" if self.tests[0].difference > 0 else "worse"


def gains(section: Section) -> list[Gain]:
    """The comparisons over baselines, then those over other models, best first."""
    pairs = [*_over_baseline(section), *_over_plain(section)]
    known = {(arm.key, other.key) for arm, other in pairs}
    pairs += [(a, b) for a, b in _over_reference(section) if (a.key, b.key) not in known]
    figures = _figures(section)
    tested = [(arm, other, test) for arm, other in pairs if (test := _test(arm, other, figures))]
    if not tested:
        return []
    corrected = [statistics.holm([tests[at].p for *_, tests in tested]) for at in range(2)]
    found = [
        Gain(arm, other, tests, (main, hits))
        for (arm, other, tests), main, hits in zip(tested, *corrected, strict=True)
    ]
    return sorted(found, key=lambda g: (not g.against.is_baseline, -g.tests[0].difference))


def table(section: Section) -> Table | None:
    """One row per comparison; None where none can be made."""
    found = gains(section)
    if not found:
        return None
    main, hits = map(measures.label, _figures(section))
    ranking = section.headline.group
    columns = (
        Column("Compared with", scores=False), Column("Verdict", scores=False),
        Column("Gain", "in the mean", f"{main}, {ranking}", scores=False),
        Column("95% interval", "", f"{main}, {ranking}", scores=False),
        Column("p", "corrected", f"{main}, {ranking}", scores=False),
        Column("Users", "better / worse / equal", f"{main}, {ranking}", scores=False),
        Column("Gain", "in the mean", f"{hits}, {ranking}", scores=False),
        Column("95% interval", "", f"{hits}, {ranking}", scores=False),
        Column("p", "corrected", f"{hits}, {ranking}", scores=False),
        Column("Query time", "known to the model", scores=False),
    )  # fmt: skip
    rows = tuple(_row(section, gain) for gain in found)
    return Table("What each model gains", columns, rows, _remarks(found))


def sentences(section: Section) -> list[str]:
    """Which models gain and which do not, over the baseline and over themselves."""
    found = gains(section)
    name = measures.words(section.headline)
    said = []
    named = next((arm.label for arm in section.arms if arm.is_reference), "")
    for over, members in (
        (f"over {named}", [g for g in found if g.against.is_reference]),
        (f"over the baseline {BASELINE}", [g for g in found if _is_over_baseline(g)]),
        (
            "over the same model without side information",
            [g for g in found if not g.against.is_reference and not g.against.is_baseline],
        ),
    ):
        groups = {
            "gain": [g for g in members if g.verdict == "better"],
            "lose": [g for g in members if g.verdict == "worse"],
        }
        rest = [g for g in members if g.verdict not in ("better", "worse")]
        parts = [
            f"{measures.enumeration([_named(g) for g in group])} {verb}{'s' * (len(group) == 1)}"
            for verb, group in groups.items()
            if group
        ]
        if rest:
            names = measures.enumeration([_named(g) for g in rest])
            parts.append(f"for {names} the test shows no difference")
        if parts:
            users = members[0].tests[0].num_users
            said.append(
                f"In {name} on the same {users:,} users of test, {over}: {'; '.join(parts)}."
            )
    return said


def _over_baseline(section: Section) -> list[tuple[Arm, Arm]]:
    base = next((a for a in section.arms if a.is_baseline and a.runs[0].name == BASELINE), None)
    if base is None:
        return []
    return [(arm, base) for arm in section.arms if not arm.is_baseline]


def _over_plain(section: Section) -> list[tuple[Arm, Arm]]:
    """Each arm with side information, and the arm that differs from it in that alone."""
    trained = [arm for arm in section.arms if not arm.is_baseline]
    plain = {_rest(arm): arm for arm in trained if not _is_told_more(arm)}
    pairs = ((arm, plain.get(_rest(arm))) for arm in trained if _is_told_more(arm))
    return [(arm, other) for arm, other in pairs if other is not None]


def _over_reference(section: Section) -> list[tuple[Arm, Arm]]:
    return [
        (arm, other)
        for other in section.arms
        if other.is_reference
        for arm in section.arms
        if arm is not other
    ]


def _is_over_baseline(gain: Gain) -> bool:
    return gain.against.is_baseline and not gain.against.is_reference


def _is_told_more(arm: Arm) -> bool:
    model: dict[str, Any] = arm.runs[0].config.get("model") or {}
    return any(
        (model.get(name) or usual) != usual
        for name, usual in _ADDED.items()
        if name != "scores_features"
    )


def _rest(arm: Arm) -> str:
    """The settings besides the name and side information."""
    settings = identity(arm.runs[0])
    left_out = {"name", *(f"model.{name}" for name in _ADDED)}
    return repr(sorted((k, v) for k, v in settings.items() if k not in left_out))


def _figures(section: Section) -> tuple[FigureName, FigureName]:
    """The main metric, and the hit rate at its cut-off."""
    return section.headline, replace(section.headline, metric="hit_rate")


def _test(
    arm: Arm, other: Arm, figures: tuple[FigureName, FigureName]
) -> tuple[Comparison, Comparison] | None:
    """The paired tests; None unless both have outcomes of the same windows, of several users."""
    if not arm.outcomes or not other.outcomes or figures[0].group not in RANKINGS:
        return None
    first = arm.outcomes[0]
    if len(set(first.user_ids.tolist())) < 2:
        return None
    for outcomes in (*arm.outcomes, *other.outcomes):
        is_same = np.array_equal(outcomes.window_ids, first.window_ids)
        if not is_same or not all(map(outcomes.holds, figures)):
            return None
    main, hits = (
        statistics.paired(
            [outcomes.values(name) for outcomes in arm.outcomes],
            [outcomes.values(name) for outcomes in other.outcomes],
            first.user_ids,
        )
        for name in figures
    )
    return main, hits


def _row(section: Section, gain: Gain) -> Row:
    mean = gain.against.figure(schema.TEST, section.headline).mean
    main, hits = gain.tests
    told = leaderboard.knows_query_time(gain.arm.runs[0].config)
    cells = [
        Cell(gain.against.label),
        Cell(gain.verdict),
        _difference(main, mean),
        *_evidence(main, gain.corrected[0]),
        Cell(f"{main.num_better:,} / {main.num_worse:,} / {main.num_equal:,}",
             value=float(main.num_better - main.num_worse)),
        _difference(hits, gain.against.figure(schema.TEST, _figures(section)[1]).mean),
        *_evidence(hits, gain.corrected[1]),
        Cell("yes" if told else "no"),
    ]  # fmt: skip
    return row(gain.arm, cells)


def _difference(test: Comparison, mean: float | None) -> Cell:
    """The difference, and its share of the other one's mean."""
    share = f"({test.difference / mean:+.1%})" if mean else ""
    return Cell(f"{test.difference:+.4f}", share, test.difference)


def _evidence(test: Comparison, corrected: float) -> list[Cell]:
    interval = Cell(f"{test.low:+.4f} to {test.high:+.4f}", value=test.low)
    return [interval, Cell("< 0.0001" if corrected < 1e-4 else f"{corrected:.4f}", value=corrected)]


def _remarks(found: Sequence[Gain]) -> tuple[str, ...]:
    said = [
        f"Paired tests on the same {found[0].tests[0].num_users:,} users of the test split: for "
        "each user, the mean over a model's seeds less that of what it is compared with."
    ]
    if len(found) > 1:
        said[0] += f" p is corrected for the {len(found)} comparisons of its column (Holm)."
    several = [gain for gain in found if len(gain.arm.complete) > 1]
    if several:
        said.append("Intervals are over users and, of models with several seeds, over seeds.")
    if len(several) < len(found):
        alone = "Some models have"
        if not several:
            alone = "These models have" if len(found) > 1 else "This model has"
        said.append(
            f"{alone} one seed, so intervals are over users alone: another seed may give another "
            "answer."
        )
    if any(gain.verdict.startswith(NO_DIFFERENCE) for gain in found):
        said.append(
            "No difference that this test can show: the interval holds zero, or the p-value is "
            f"at least {_ALPHA} once corrected; a smaller difference may be there."
        )
    return tuple(said)


def _named(gain: Gain) -> str:
    return f"{gain.arm.label} ({gain.tests[0].difference:+.4f})"
