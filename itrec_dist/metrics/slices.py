"""Slices of a split: by length of history, by popularity and by age of the target.

Owns which slice a target belongs to, and counts how many targets of each the rankings found.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.shards.first_times import NEVER
from itrec_dist.metrics.targets import Slice

LENGTH, POPULARITY, AGE = "history length", "item popularity", "item age"
"""What a split is sliced by."""

_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200)  # the shortest history of each slice
_AGES = (0.02, 0.1, 0.25, 0.5)  # where one slice ends and the next begins
UNTRAINED = "never in training"


@dataclass(frozen=True)
class Slicing:
    """One way to slice: names, and a number for each target."""

    kind: str
    names: tuple[str, ...]
    numbers: Tensor
    """Slice by history length [L + 1], or by item id [V]."""


class Slices:
    """Counts the targets of each slice, and those found in the first places of each ranking."""

    def __init__(
        self, popularity_C: Tensor, longest: int, cutoffs: Sequence[int],
        first_times_C: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Start at zero.

        Args:
            popularity_C: how often each item is a target in training.
            longest: events that a model is shown at most.
            cutoffs: lengths of the ranked list.
            first_times_C: when training first has each item, int64, NEVER where it has not.
        """
        device = popularity_C.device
        self._cutoffs = tuple(sorted(cutoffs))
        self._lengths = by_length(longest, device)
        self._popularity = by_popularity(popularity_C)
        self._ages = None if first_times_C is None else _Ages(first_times_C.to(device))
        self._names = {s.kind: s.names for s in (self._lengths, self._popularity)}
        if self._ages is not None:
            self._names[AGE] = _Ages.names
        width = 1 + 2 * len(self._cutoffs)
        total = sum(map(len, self._names.values()))
        self._counts = torch.zeros(total, width, dtype=torch.int64, device=device)

    def update(
        self, batch: Batch, targets_BK: Tensor, is_target_BK: Tensor,
        rankings: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """Count the targets, as from `target_counter.distinct`, given both rankings of a batch."""
        found = [is_target_BK]
        for top_BN in rankings:
            is_at_BNK = top_BN[:, :, None] == targets_BK[:, None, :]
            found += [is_at_BNK[:, :k].any(dim=1) & is_target_BK for k in self._cutoffs]
        found_BKW = torch.stack(found, dim=2).to(torch.int64)
        length_B = (batch.item_ids_BL != PAD).sum(dim=1)
        numbers = [
            self._lengths.numbers[length_B][:, None].expand_as(targets_BK),
            self._popularity.numbers[targets_BK],
        ]
        if self._ages is not None and batch.target_time_B is not None:
            numbers.append(self._ages.numbers(targets_BK, batch.target_time_B))
        start = 0
        for number_BK, names in zip(numbers, self._names.values(), strict=False):
            place_N = (number_BK + start).flatten()
            self._counts.index_add_(0, place_N, found_BKW.flatten(0, 1))
            start += len(names)

    def state(self) -> Tensor:
        """All counts, flat float64, to be summed over workers."""
        return self._counts.flatten().double()

    def load(self, state: Tensor) -> None:
        """Replace all counts by a state, such as the sum of all workers' states."""
        self._counts.copy_(state.round().to(torch.int64).view_as(self._counts))

    def slices(self, groups: Sequence[str]) -> tuple[Slice, ...]:
        """The slices that hold a target, `groups` being the names of the two rankings."""
        made = []
        kinds = ((kind, name) for kind, names in self._names.items() for name in names)
        for (kind, name), (count, *found) in zip(kinds, self._counts.tolist(), strict=True):
            if count:
                half = len(self._cutoffs)
                counts: Mapping[str, Mapping[int, int]] = {
                    group: dict(zip(self._cutoffs, found[at : at + half], strict=True))
                    for group, at in zip(groups, (0, half), strict=True)
                }
                made.append(Slice(kind, name, count, counts))
        return tuple(made)


def by_length(longest: int, device: torch.device) -> Slicing:
    """The slice of each number of events; the last one has no upper end, for inputs are cut."""
    starts = [start for start in _LENGTHS if start <= longest]
    names = [
        f"{start}" if after == start + 1 else f"{start}-{after - 1}"
        for start, after in itertools.pairwise(starts)
    ]
    lengths_L = torch.arange(longest + 1, device=device)
    numbers = torch.bucketize(lengths_L, torch.tensor(starts, device=device), right=True) - 1
    return Slicing(LENGTH, (*names, f"{starts[-1]}+"), numbers.clamp(min=0))


def by_popularity(popularity_C: Tensor) -> Slicing:
    """The slice of each item: thirds of all training targets, the most popular items first."""
    counts_C = popularity_C.to(torch.int64)
    order = counts_C.argsort(descending=True, stable=True)
    before = counts_C[order].cumsum(0) - counts_C[order]
    third = (3 * before) // counts_C.sum().clamp(min=1)  # 0 is the most popular third
    numbers_C = torch.empty_like(counts_C).index_copy_(0, order, 3 - third.clamp(max=2))
    numbers_C = numbers_C.masked_fill(counts_C == 0, 0)
    sizes = numbers_C.bincount(minlength=4).tolist()
    words = ("least popular third", "middle third", "most popular third")
    names = [
        f"{w} ({n:,} item{'s' if n != 1 else ''})" for w, n in zip(words, sizes[1:], strict=True)
    ]
    return Slicing(POPULARITY, (UNTRAINED, *names), torch.nn.functional.pad(numbers_C, (1, 0)))


class _Ages:
    """The slice of each target by its age: the time since training first had the item.

    Sources have times in any unit, so an age is a share of the time since the first event of all.
    """

    names = (
        UNTRAINED, "before its first training event", f"up to {_AGES[0]:.0%} of the time",
        *(f"{a:.0%} to {b:.0%}" for a, b in itertools.pairwise(_AGES)), f"over {_AGES[-1]:.0%}",
    )  # fmt: skip

    def __init__(self, first_times_C: Tensor) -> None:
        self._first_V = torch.nn.functional.pad(first_times_C, (1, 0), value=NEVER)
        known = first_times_C[first_times_C != NEVER]
        self._begin = int(known.min()) if len(known) else 0
        self._ends = torch.tensor(_AGES, dtype=torch.float64, device=first_times_C.device)

    def numbers(self, targets_BK: Tensor, target_time_B: Tensor) -> Tensor:
        """The slice of each target, [B, K]; the time is that of the window's first."""
        first_BK, time_B1 = self._first_V[targets_BK], target_time_B[:, None]
        span_B1 = (time_B1 - self._begin).clamp(min=1).double()
        share_BK = (time_B1.double() - first_BK) / span_B1
        number_BK = 2 + torch.bucketize(share_BK, self._ends)
        number_BK = number_BK.masked_fill(time_B1 < first_BK, 1)
        return number_BK.masked_fill(first_BK == NEVER, 0)
