"""Histories -> batches: rows of any length in memory, and batches of a fixed number of positions.

Order. Rows are sorted into buckets of about the same length. Epoch e permutes the rows of every
bucket by its seed and cuts them into global batches; what is left of a bucket goes to the next
longer one, and the batches are permuted at last. Batches and their number depend on the seed alone,
not on the number of workers: each takes an equal share of the rows, with fillers of weight 0.

A batch is as wide as its longest row, padded on the left. Models that predict at every position
are given a target for each of them; others are given the events before one target of each row,
drawn anew every epoch, so that they learn from beginnings of every length. A target may be several
events, as far ahead as `Ahead` says; not among them are those beyond the end of a row, and those
that training does not learn from.

In memory an event costs 17 bytes (item, rating, time, whether it is a target), one more where not
all are learned from, and 4 for each of its features, a row some 80, and an item of a judged row's
whole history 4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.batches import Indices, _to_device
from itrec_dist.data.event_features import MISSING
from itrec_dist.data.feeds import Seed
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.shards.arrays import HistoryRows, Ragged, Windows
from itrec_dist.data.targets_ahead import Ahead, first_targets

Use = Literal["steps", "prefixes", "judged"]

_GROWTH = 1.125  # from one bucket's longest row to the next bucket's


@dataclass(frozen=True)
class HistoryShare:
    """How rows become global batches, and which part of each this worker takes."""

    batch_size: int
    """Rows in a global batch."""
    batch_tokens: int | None = None
    """Positions in a global batch at most, padding included; None cuts by `batch_size` alone."""
    multiple: int = 1
    """A worker's rows are filled up to a multiple of this: its micro-batches."""
    rank: int = 0
    world_size: int = 1

    def rows(self, length: int) -> int:
        """Rows of a global batch that is `length` positions wide."""
        if self.batch_tokens is None:
            return self.batch_size
        return max(1, self.batch_tokens // length)

    def local_size(self, rows: int) -> int:
        """Rows of each worker in a global batch of `rows`, fillers included."""
        return math.ceil(rows / (self.world_size * self.multiple)) * self.multiple


class HistoryTable:
    """Rows of histories as flat tensors, so that a batch costs one gather per column."""

    def __init__(
        self, rows: HistoryRows, device: torch.device, targets: int, ahead: Ahead | None = None
    ) -> None:
        """Keep them on a device.

        Args:
            rows: the histories.
            device: where they are kept.
            targets: targets of a judged row at most, K.
            ahead: the targets of a position in training; None takes the next event.
        """
        self._targets = targets
        self._ahead = ahead or Ahead()
        self.device = device
        self.lengths = rows.item_ids.lengths
        self._num_context = rows.num_context.astype(np.int64)
        self.num_targets = self.lengths - self._num_context
        """Places of each row that have a target in training."""
        chooses = bool(rows.chooses_targets.any())
        is_target = first_targets(rows, self._ahead)
        self._near: Indices | None = None
        if chooses or self._ahead.within is not None:
            starts = rows.item_ids.offsets[:-1]
            self._near = np.flatnonzero(is_target)
            bounds = np.searchsorted(self._near, rows.item_ids.offsets)
            self.num_targets, self._first_near = np.diff(bounds), bounds[:-1]
            self._near -= np.repeat(starts, self.num_targets)

        def tensor(array: Any) -> torch.Tensor:
            own = array if array.flags.writeable else np.array(array)  # shared ones are not copied
            return torch.from_numpy(own).to(device)

        self._flat = {
            "item_ids": tensor(rows.item_ids.values),
            "ratings": tensor(rows.ratings.values),
            "times": tensor(rows.times.values),
        }
        self._features = None
        if rows.event_features.values.shape[1]:
            self._features = tensor(rows.event_features.values)
        self._starts = tensor(rows.item_ids.offsets[:-1])
        self._ends = tensor(rows.item_ids.offsets[1:])
        self._is_target = tensor(is_target)
        self._is_learned = tensor(rows.is_learned) if chooses else None
        self._targets_of = {
            name: (tensor(ragged.values), tensor(ragged.offsets))
            for name, ragged in (
                ("target_ids", rows.target_ids),
                ("target_ratings", rows.target_ratings),
                ("target_times", rows.target_times),
                ("seen_ids", rows.seen_ids),
            )
        }
        self._vectors = {
            "window_ids_B": tensor(rows.window_ids),
            "user_ids_B": tensor(rows.user_ids),
            "user_features_BF": tensor(rows.user_features),
        }

    def __len__(self) -> int:
        return len(self.lengths)

    def nth_target(self, rows: Indices, nth: Indices) -> Indices:
        """The place of the nth target of each row, counted from the row's start."""
        if self._near is None:
            return self._num_context[rows] + nth
        near: Indices = self._near[self._first_near[rows] + nth]
        return near

    def drawn_target(self, rows: Indices, drawn: npt.NDArray[np.float64]) -> torch.Tensor:
        """The place of any target of each row, each as likely for a number drawn from [0, 1)."""
        nth = (drawn * self.num_targets[rows]).astype(np.int64)
        return torch.from_numpy(self.nth_target(rows, nth)).to(self.device)

    def judged(self, rows_B: torch.Tensor, width: int) -> dict[str, torch.Tensor]:
        """The tensors of judged rows: `width` positions that end right before the targets."""
        tensors = self._inputs(rows_B, self._ends[rows_B], width)
        for name in ("target_ids", "target_ratings"):
            tensors[f"{name}_BK"] = self._first_of(name, rows_B, self._targets)
        tensors["target_time_B"] = self._first_of("target_times", rows_B, 1).squeeze(1)
        _, offsets = self._targets_of["seen_ids"]
        widest = int((offsets[rows_B + 1] - offsets[rows_B]).max())
        tensors["seen_ids_BS"] = self._first_of("seen_ids", rows_B, widest)
        return tensors

    def steps(self, rows_B: torch.Tensor, width: int) -> dict[str, torch.Tensor]:
        """The tensors of training rows: at each position the target is the event that follows."""
        end_B = self._ends[rows_B] - 1
        tensors = self._inputs(rows_B, end_B, width)
        if self._features is not None:
            tensors["target_features_BG"] = self._features[end_B]
        place_BL = self._places(end_B, width) + 1
        is_target_BL = place_BL > self._starts[rows_B][:, None]
        there_BL = place_BL.clamp(min=0)
        is_target_BL &= _at(self._is_target, there_BL)
        if self._ahead.count == 1 and self._is_learned is None:  # the same, in one gather
            ids_BLK = _at(self._flat["item_ids"], there_BL)[:, :, None]
        else:
            ids_BLK = self._ahead_of(rows_B[:, None], place_BL)["target_ids"]
        ids_BLK = torch.where(is_target_BL[:, :, None], ids_BLK, PAD)
        tensors["step_target_ids_BL"] = ids_BLK[:, :, 0]
        if self._ahead.count > 1:
            tensors["further_target_ids_BLK"] = ids_BLK[:, :, 1:]
        return tensors | self._target_at(end_B)

    def prefixes(
        self, rows_B: torch.Tensor, place_B: torch.Tensor, width: int
    ) -> dict[str, torch.Tensor]:
        """The tensors of training rows up to one target, which stands at `place_B` of its row."""
        end_B = self._starts[rows_B] + place_B
        found = self._ahead_of(rows_B, end_B)
        targets = {f"{name}_BK": values_BK for name, values_BK in found.items()}
        return self._inputs(rows_B, end_B, width) | self._target_at(end_B) | targets

    def _ahead_of(self, rows: torch.Tensor, place: torch.Tensor) -> dict[str, torch.Tensor]:
        """Items and ratings of the targets from `place` on, in a last dimension of `Ahead.count`.

        Those beyond the row's end or later than allowed are 0.
        """
        ahead = self._ahead
        places = place[..., None] + torch.arange(ahead.count, device=self.device)
        is_there = places < self._ends[rows][..., None]
        places = places.clamp(0, len(self._is_target) - 1)
        if ahead.within is not None:
            times = self._flat["times"]
            newest = times[(place - 1).clamp(min=0)][..., None]
            is_there &= times[places] - newest <= ahead.within
        if self._is_learned is not None:
            is_there &= self._is_learned[places]
            # The first target stands first, whichever of the events ahead it is.
            order = (~is_there).byte().argsort(dim=-1, stable=True)
            places, is_there = places.gather(-1, order), is_there.gather(-1, order)
        return {
            f"target_{name.removeprefix('item_')}": torch.where(
                is_there, self._flat[name][places], 0
            )
            for name in ("item_ids", "ratings")
        }

    def _target_at(self, place_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "target_ids_BK": self._flat["item_ids"][place_B][:, None],
            "target_ratings_BK": self._flat["ratings"][place_B][:, None],
            "target_time_B": self._flat["times"][place_B],
        }

    def _places(self, end_B: torch.Tensor, width: int) -> torch.Tensor:
        return end_B[:, None] - width + torch.arange(width, device=self.device)

    def _inputs(
        self, rows_B: torch.Tensor, end_B: torch.Tensor, width: int
    ) -> dict[str, torch.Tensor]:
        place_BL = self._places(end_B, width)
        is_event_BL = place_BL >= self._starts[rows_B][:, None]
        place_BL = place_BL.clamp(min=0)
        tensors = {name: values[rows_B] for name, values in self._vectors.items()}
        for name, values in self._flat.items():
            tensors[f"{name}_BL"] = torch.where(is_event_BL, _at(values, place_BL), 0)
        if self._features is not None:
            codes_BLG = _at(self._features, place_BL)
            tensors["event_features_BLG"] = torch.where(is_event_BL[:, :, None], codes_BLG, MISSING)
        return tensors

    def _first_of(self, name: str, rows_B: torch.Tensor, width: int) -> torch.Tensor:
        """The first `width` values of each row's list, filled up with 0."""
        values, offsets = self._targets_of[name]
        shape = (len(rows_B), width)
        if not len(values):
            return torch.zeros(shape, dtype=values.dtype, device=self.device)
        place = offsets[rows_B][:, None] + torch.arange(width, device=self.device)
        is_there = place < offsets[rows_B + 1][:, None]
        return torch.where(is_there, _at(values, place.clamp(max=len(values) - 1)), 0)


def _at(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """`values[places]` along the first dimension, in a third of the time that indexing takes."""
    return values.index_select(0, places.reshape(-1)).reshape(*places.shape, *values.shape[1:])


class HistoryFeed:
    """Histories kept in memory, for one of three uses.

    `steps` trains at every position, and `num_windows` then counts targets, over which the mean
    loss is taken; `prefixes` trains on one target of each row; `judged` has no seeds.
    """

    def __init__(
        self, table: HistoryTable, share: HistoryShare, device: torch.device, use: Use,
        width: int | None = None,
    ) -> None:  # fmt: skip
        """Plan an epoch.

        Args:
            table: the rows, of training or to be judged.
            share: how they are cut into batches.
            device: where batches go.
            use: what the batches are for.
            width: positions of every batch; None makes a batch as wide as its longest row.
        """
        self._table, self._share, self._device = table, share, device
        self._use, self._width = use, width
        self._inputs = table.lengths if use == "judged" else table.lengths - 1
        self._rows = np.arange(len(table))
        if use != "judged":
            self._rows = np.flatnonzero(table.num_targets)
        self._bounds = bucket_bounds(int(self._inputs.max(initial=1)), width)
        self.num_windows = int(table.num_targets.sum()) if use == "steps" else len(self._rows)
        self.steps_per_epoch = len(self._batches((0, 0)))

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """One pass over training rows in the order of `seed`, or over judged rows by their length.

        The first `skip` batches are left out.
        """
        assert (seed is None) == (self._use == "judged"), "training needs a seed, judging has none"
        for rows in itertools.islice(self._batches(seed), skip, None):
            yield _to_device(self._batch(rows, seed), self._device)

    def _batches(self, seed: Seed | None) -> list[Indices]:
        """The rows of every global batch."""
        if self._use == "judged":
            # From short to long, so that a batch holds little padding.
            by_length = np.argsort(self._inputs, kind="stable")
            size = self._share.batch_size
            return [by_length[at : at + size] for at in range(0, len(by_length), size)]
        random = np.random.default_rng(seed)
        order = self._rows[random.permutation(len(self._rows))]
        batches, left = cut(order, self._inputs, self._bounds, self._share)
        batches += [left] if len(left) else []
        return [batches[i] for i in random.permutation(len(batches))]

    def _batch(self, rows: Indices, seed: Seed | None) -> Batch:
        """This worker's share of a global batch."""
        share, table = self._share, self._table
        local = share.local_size(len(rows))
        mine = rows[share.rank * local : (share.rank + 1) * local]
        filled = np.zeros(local, dtype=np.int64)
        filled[: len(mine)] = mine
        rows_B = torch.from_numpy(filled).to(table.device)
        width = self._width or int(self._inputs[rows].max())
        if self._use == "judged":
            tensors, count = table.judged(rows_B, width), len(rows)
        elif self._use == "steps":
            tensors, count = table.steps(rows_B, width), int(table.num_targets[rows].sum())
        else:
            assert seed is not None
            drawn = np.random.default_rng([*seed, 1]).random(len(table))[filled]
            places = table.drawn_target(filled, drawn)
            tensors, count = table.prefixes(rows_B, places, width), len(rows)
        weight_B = (torch.arange(local, device=table.device) < len(mine)).float()
        batch: dict[str, Any] = tensors
        return Batch(**batch, weight_B=weight_B, denominator=count / share.world_size)


def cut(
    order: Indices, inputs: Indices, bounds: list[int], share: HistoryShare
) -> tuple[list[Indices], Indices]:
    """Cut rows into global batches, in this order within their buckets, from short to long.

    Returns them, and what is left, of the longest rows, which is less than a batch.
    """
    batches: list[Indices] = []
    left: Indices = order[:0]
    buckets = np.searchsorted(bounds, inputs[order])
    for bucket, length in enumerate(bounds):
        members = np.concatenate([left, order[buckets == bucket]])
        size = share.rows(length)
        whole = len(members) // size * size
        batches += [members[at : at + size] for at in range(0, whole, size)]
        left = members[whole:]
    return batches, left


def bucket_bounds(longest: int, width: int | None) -> list[int]:
    """The longest row of every bucket; a single one where all batches have one width."""
    if width is not None:
        return [max(width, longest)]
    bounds = [1]
    while bounds[-1] < longest:
        bounds.append(min(longest, max(bounds[-1] + 1, int(bounds[-1] * _GROWTH))))
    return bounds


def as_judged(rows: HistoryRows) -> HistoryRows:
    """Training rows to be judged: the last event is the target, and those before it are seen."""
    ends = rows.item_ids.offsets[1:] - 1
    is_last = np.zeros(len(rows.item_ids.values), dtype=bool)
    is_last[ends] = True
    offsets = rows.item_ids.offsets - np.arange(len(rows) + 1)
    single = np.arange(len(rows) + 1)
    before = {
        name: Ragged(getattr(rows, name).values[~is_last], offsets)
        for name in ("item_ids", "ratings", "times")
    }
    return HistoryRows(
        window_ids=rows.window_ids, user_ids=rows.user_ids, user_features=rows.user_features,
        num_context=before["item_ids"].lengths.astype(np.int32),
        **before,
        seen_ids=before["item_ids"],
        target_ids=Ragged(rows.item_ids.values[ends], single),
        target_ratings=Ragged(rows.ratings.values[ends], single),
        target_times=Ragged(rows.times.values[ends], single),
        event_features=Ragged(rows.event_features.values[~is_last], offsets),
    )  # fmt: skip


def as_windows(rows: HistoryRows, inputs: int, targets: int) -> Windows:
    """Judged rows as windows of fixed width, for the few of them that are shown to people."""
    table = HistoryTable(rows, torch.device("cpu"), targets)
    found = table.judged(torch.arange(len(rows)), inputs)
    codes_BLG = found.get("event_features_BLG")
    return Windows(
        window_ids=rows.window_ids,
        user_ids=rows.user_ids,
        user_features=rows.user_features,
        item_ids=found["item_ids_BL"].numpy(),
        ratings=found["ratings_BL"].numpy(),
        times=found["times_BL"].numpy(),
        target_ids=found["target_ids_BK"].numpy(),
        target_ratings=found["target_ratings_BK"].numpy(),
        target_time=found["target_time_B"].numpy(),
        event_features=None if codes_BLG is None else codes_BLG.numpy(),
    )
