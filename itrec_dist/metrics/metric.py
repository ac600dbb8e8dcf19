"""The interface of metrics, what they are computed from, and the names of figures.

A metric is one class in a file of this package or of another one. Reports, the terminal, monitors
and searches take its label, order and direction from that class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.data.schema import Seen

CUTOFFS = (5, 10, 20)
"""The lengths of the ranked list at which rankings are judged by default."""

RANKINGS = ("unmasked", "masked")
"""The two rankings that are judged: of all items, and without those that the user has seen."""

RATINGS = "ratings"
"""The group of rating errors."""


@dataclass(frozen=True)
class FigureName:
    """The name of one figure, written `group/metric@cutoff`; the loss has no group or cut-off."""

    group: str
    """Its group in a judgement, such as "masked"; empty for the loss."""
    metric: str
    """The metric's name, such as "hit_rate"."""
    cutoff: int | None = None
    """The length of the ranked list; None for metrics without one."""

    @classmethod
    def parse(cls, text: str) -> FigureName:
        """Read a name as settings hold it.

        Raises:
            ConfigError: it has no group and is not the loss.
        """
        group, slash, key = text.partition("/")
        if not slash and text == LOSS.metric:
            return LOSS
        if not group or not key or "/" in key:
            raise ConfigError(
                f"{text!r} is not a figure: give loss, or group/metric@cutoff such as "
                "unmasked/precision@5"
            )
        return cls.within(group, key)

    @classmethod
    def within(cls, group: str, key: str) -> FigureName:
        """The figure that a group of a judgement holds under `key`, such as `precision@5`."""
        match = re.fullmatch(r"([^@]+)@([0-9]+)", key)
        return cls(group, match[1], int(match[2])) if match else cls(group, key)

    @property
    def key(self) -> str:
        """Its name within the group: `precision@5`."""
        return self.metric if self.cutoff is None else f"{self.metric}@{self.cutoff}"

    def __str__(self) -> str:
        """As settings and logs write it: `unmasked/precision@5`."""
        return f"{self.group}/{self.key}" if self.group else self.key

    def nearest(self, cutoffs: Sequence[int]) -> FigureName:
        """The same figure at the cut-off nearest to its own; the lower one in a tie."""
        if self.cutoff is None or not cutoffs:
            return self
        own = self.cutoff
        return replace(self, cutoff=min(sorted(cutoffs), key=lambda k: abs(k - own)))


LOSS = FigureName("", "loss")


class Metric:
    """One metric; a subclass sets what describes it and computes it.

    The class of a file `some_name.py` is called `SomeNameMetric`.
    """

    name: str
    """Its name in files and settings: "hit_rate"."""
    label: str
    """Its name in tables: "Hit rate"."""
    short: str = ""
    """Its name in progress lines: "HR"; empty takes the label."""
    groups: tuple[str, ...] = ()
    """The groups of a judgement that hold it."""
    has_cutoffs: bool = False
    """Whether it is computed at each cut-off, as `name@cutoff`."""
    higher_is_better: bool | None = None
    """Its direction; None if it only describes a model and no value is best."""
    order: int = 1000
    """Its position among the metrics of a group, lowest first."""
    note: str = ""
    """A sentence for readers of a report, if the label does not explain it."""


class RankingMetric(Metric):
    """A metric of rankings, computed at each cut-off from whole-number counts."""

    groups = RANKINGS
    has_cutoffs = True
    is_mean: bool = False
    """Whether it is the mean of its figures of single windows, so that two models can be compared
    window by window."""

    def compute(self, counts: RankingCounts, k: int) -> float:
        """The figure of the first k places of all rankings."""
        raise NotImplementedError


class RatingMetric(Metric):
    """A metric of predicted ratings: a function of the mean of one term per rating.

    The judge counts each term in whole multiples of 2^-24, so that sums are exact in any order.
    """

    groups = (RATINGS,)

    def term(self, error_BK: Tensor, width: float) -> Tensor:
        """The term of each rating, mostly from 0 to 1: [B, K].

        `error_BK` is prediction less rating over `width`, the width of the rating scale.
        """
        raise NotImplementedError

    def compute(self, mean: float, width: float) -> float:
        """The figure, from the mean of the terms and the width of the scale."""
        raise NotImplementedError


@dataclass(frozen=True)
class RankingCounts:
    """The counts over all rankings of a split: whole numbers, exact in any order.

    T is the largest number of targets of a window, C the number of items.
    """

    num_windows: int
    """Windows with a target."""
    nth_hits: Sequence[Sequence[Sequence[int]]]
    """[T + 1][depth][min(T, depth)]: of the windows with t targets, how many have their
    (n + 1)-th hit at rank r + 1."""
    recommended_C: Mapping[int, Tensor]
    """Cut-off -> how often each item appears in the first k places."""
    targets_C: Tensor
    """How often each item is a target."""
    popularity_C: Tensor
    """How often each item is a target in training."""

    @property
    def num_items(self) -> int:
        """The size of the catalogue."""
        return len(self.popularity_C)

    def hits_by_targets(self, k: int) -> list[int]:
        """Hits within the first k places, by the number of targets of their window: [T + 1]."""
        return [sum(sum(nth) for nth in ranks[:k]) for ranks in self.nth_hits]

    def hits_at(self, num_targets: int) -> list[int]:
        """Hits at each rank, of the windows with that many targets: [depth]."""
        return [sum(nth) for nth in self.nth_hits[num_targets]]

    def first_hits(self, k: int) -> list[int]:
        """Windows whose first hit is at each of the first k ranks: [k]."""
        by_rank = zip(*self.nth_hits, strict=True)
        return [sum(nth[0] for nth in at_rank) for at_rank in by_rank][:k]


@dataclass(frozen=True)
class MetricChoice:
    """What a judge computes: every metric of its kind, at which cut-offs, of which ranking."""

    cutoffs: tuple[int, ...] = CUTOFFS
    """Lengths of the ranked list."""
    more: tuple[str, ...] = ()
    """Additional metrics that no package registers, as `module:Class`."""
    seen: Seen | None = None
    """What the masked ranking leaves out; None is the history, or of windows the input."""
    slices: bool = False
    """Whether targets are also counted by slice: by length of history, popularity and age."""
    outcomes: bool = False
    """Whether what was found for each window is kept, of the windows that this process judges."""

    def __post_init__(self) -> None:
        if not self.cutoffs or min(self.cutoffs) < 1 or len(set(self.cutoffs)) < len(self.cutoffs):
            raise ValueError(
                f"cutoffs={list(self.cutoffs)} must be different numbers of at least 1, such as "
                f"{list(CUTOFFS)}"
            )
