"""A judgement: every figure of a model or a baseline on one split."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from itrec_dist.metrics.metric import LOSS, FigureName
from itrec_dist.metrics.targets import Slice, TargetCounts

if TYPE_CHECKING:
    from itrec_dist.metrics.outcomes import Outcomes

_OWN = ("loss", "num_windows", "targets", "slices")


@dataclass(frozen=True)
class Judgement:
    """The figures of one split; `runs/directory.py` describes them as JSON."""

    loss: float | None
    """Mean loss over the windows; None if there is none, as for a baseline."""
    num_windows: int
    """Windows that were judged."""
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Group -> `metric@cutoff` -> figure."""
    targets: TargetCounts | None = None
    """Of a ranking, which targets could be found."""
    slices: tuple[Slice, ...] = ()
    """Of a ranking, how many targets were found by kinds of windows and of targets."""
    outcomes: "Outcomes | None" = field(default=None, repr=False, compare=False)
    """Of a ranking, what was found for each window, if it was asked for; not part of the JSON."""

    def value(self, name: FigureName) -> float | None:
        """A figure; None if it is missing."""
        if name == LOSS:
            return self.loss
        return self.groups.get(name.group, {}).get(name.key)

    def figures(self) -> Iterator[tuple[FigureName, float]]:
        """All figures, the loss first."""
        if self.loss is not None:
            yield LOSS, self.loss
        for group, values in self.groups.items():
            for key, value in values.items():
                yield FigureName.within(group, key), value

    def to_json(self) -> dict[str, Any]:
        """As evaluation.json and the log hold it."""
        content: dict[str, Any] = {"loss": self.loss, "num_windows": self.num_windows}
        if self.targets is not None:
            content["targets"] = self.targets.to_json()
        content |= {group: dict(values) for group, values in self.groups.items()}
        if self.slices:
            content["slices"] = [each.to_json() for each in self.slices]
        return content

    @classmethod
    def from_json(cls, content: Any) -> "Judgement":
        """Read what `to_json` returned; figures that are not finite numbers are skipped.

        Raises:
            ValueError: it is misshapen.
        """
        if not isinstance(content, dict):
            raise ValueError(f"a judgement is misshapen: {content!r}")
        groups = {}
        for group, values in content.items():
            if group in _OWN or values is None:
                continue
            if not isinstance(values, dict):
                raise ValueError(f"a judgement is misshapen: {group} is {values!r}")
            finite = ((str(key), _finite(value)) for key, value in values.items())
            groups[group] = {key: value for key, value in finite if value is not None}
        loss, windows = (_finite(content.get(name)) for name in ("loss", "num_windows"))
        slices = content.get("slices") or []
        if not isinstance(slices, list):
            raise ValueError(f"a judgement is misshapen: slices is {slices!r}")
        return cls(
            loss, int(windows or 0), groups, TargetCounts.from_json(content.get("targets")),
            tuple(map(Slice.from_json, slices)),
        )  # fmt: skip


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
