"""What a judgement says of targets: which could be found at all, and how many were by slice.

As everywhere, a target that occurs twice in a window counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MANY = 0.1
"""The share of targets from which a user is warned."""


@dataclass(frozen=True)
class TargetCounts:
    """The targets of one split."""

    num_targets: int
    untrained: int
    """Targets that are no target in training: a model has learned nothing of them but that, and
    they count as misses wherever they are not found."""
    left_out: int
    """Targets that the masked ranking leaves out, since the user has seen them: sure misses."""

    @property
    def share_left_out(self) -> float:
        """The share of targets that the masked ranking cannot hold."""
        return self.left_out / self.num_targets if self.num_targets else 0.0

    def to_json(self) -> dict[str, int]:
        """As evaluation.json holds it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, content: Any) -> TargetCounts | None:
        """Read what `to_json` returned; None where there is nothing.

        Raises:
            ValueError: it is misshapen.
        """
        if content is None:
            return None
        try:
            return cls(**{name: int(content[name]) for name in cls.__dataclass_fields__})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"counts of targets are misshapen: {content!r}") from error


def warning(split: str, counts: TargetCounts | None, option: str) -> str | None:
    """A sentence if many targets are left out of the masked ranking; None otherwise."""
    if counts is None or counts.share_left_out <= MANY:
        return None
    return (
        f"{counts.share_left_out:.0%} of the targets of {split} ({counts.left_out:,} of "
        f"{counts.num_targets:,}) were seen by their user before, and the masked ranking leaves "
        f"them out: where users repeat themselves, choose {option} none"
    )


@dataclass(frozen=True)
class Slice:
    """The targets of one kind in one split, and how many of them each ranking found."""

    kind: str
    """What the split is sliced by, such as "history length"."""
    name: str
    """Which of them, such as "5-9"."""
    num_targets: int
    found: Mapping[str, Mapping[int, int]]
    """Ranking -> cut-off -> targets among the first so many items."""

    def share(self, ranking: str, cutoff: int) -> float | None:
        """The share of targets found; None if it was not counted."""
        count = self.found.get(ranking, {}).get(cutoff)
        return None if count is None else count / self.num_targets

    def to_json(self) -> dict[str, Any]:
        """As evaluation.json holds it."""
        found = {
            ranking: {str(cutoff): count for cutoff, count in counts.items()}
            for ranking, counts in self.found.items()
        }
        return {
            "kind": self.kind, "name": self.name, "num_targets": self.num_targets, "found": found,
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Any) -> Slice:
        """Read what `to_json` returned.

        Raises:
            ValueError: it is misshapen.
        """
        try:
            found = {
                str(ranking): {int(cutoff): int(count) for cutoff, count in counts.items()}
                for ranking, counts in content["found"].items()
            }
            count = int(content["num_targets"])
            return cls(str(content["kind"]), str(content["name"]), count, found)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ValueError(f"a slice is misshapen: {content!r}") from error
