"""The figures of one split, as a mapping that prints as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from itrec_dist.metrics.judgement import Judgement


class Figures(Mapping[str, float]):
    """Figure -> value, such as `figures["masked/ndcg@10"]`; printed, a table of all of them."""

    def __init__(self, split: str, judgement: Judgement) -> None:
        self.split = split
        """Which split was judged."""
        self.judgement = judgement
        """All that was found, with counts by slices."""
        self._values = {str(name): value for name, value in judgement.figures()}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __str__(self) -> str:
        from itrec_dist.reports import terminal

        return terminal.as_text({self.split: self.judgement})

    def __repr__(self) -> str:
        return f"Figures({self.split!r}, {self._values})"
