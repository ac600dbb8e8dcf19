"""Rows of histories from random numbers, for tests that need no shards."""

import numpy as np
import torch

from itrec_dist.data.history_feeds import HistoryTable
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import HistoryRows, Ragged


def ragged(rng: np.random.Generator, lengths: np.ndarray, highest: int, dtype: type) -> Ragged:
    offsets = np.concatenate([[0], lengths.cumsum()])
    return Ragged(rng.integers(1, highest + 1, offsets[-1]).astype(dtype), offsets)


def of_lengths(
    rng: np.random.Generator, lengths: np.ndarray, targets: np.ndarray, context: np.ndarray,
    items: int = 12,
) -> HistoryRows:  # fmt: skip
    count = len(lengths)
    seen = lengths if targets.any() else np.zeros_like(lengths)
    item_ids = ragged(rng, lengths, items, np.int32)
    return HistoryRows(
        window_ids=np.arange(count),
        user_ids=rng.integers(1, 9, count, dtype=np.int32),
        user_features=np.zeros((count, 0), dtype=np.int32),
        num_context=context.astype(np.int32),
        item_ids=item_ids,
        ratings=ragged(rng, lengths, 5, np.float32),
        times=ragged(rng, lengths, 99, np.int64),
        seen_ids=ragged(rng, seen, items, np.int32),
        target_ids=ragged(rng, targets, items, np.int32),
        target_ratings=ragged(rng, targets, 5, np.float32),
        target_times=ragged(rng, targets, 99, np.int64),
        event_features=Ragged(np.zeros((lengths.sum(), 0), dtype=np.int32), item_ids.offsets),
    )


def training_rows(count: int, *, longest: int, seed: int = 0, items: int = 12) -> HistoryRows:
    """Rows of 2 to `longest` events after the first, most of them short."""
    rng = np.random.default_rng(seed)
    lengths = 2 + np.minimum(rng.geometric(0.12, count) - 1, longest - 1)
    context = 1 + (rng.random(count) * (lengths - 1) * (rng.random(count) < 0.3)).astype(int)
    return of_lengths(rng, lengths, np.zeros_like(lengths), context, items)


def judged_rows(count: int, *, longest: int, targets: int, seed: int = 0) -> HistoryRows:
    """Rows of 1 to `longest` events and 1 to `targets` targets."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    return of_lengths(rng, lengths, rng.integers(1, targets + 1, count), lengths)


def judged_batch(rows: HistoryRows, width: int) -> Batch:
    """All rows as one batch to be judged."""
    tensors = HistoryTable(rows, torch.device("cpu"), 2).judged(torch.arange(len(rows)), width)
    return Batch(**tensors, weight_B=torch.ones(len(rows)), denominator=len(rows))


def training_batch(rows: HistoryRows, width: int) -> Batch:
    """All rows as one batch to be learned from at every position."""
    tensors = HistoryTable(rows, torch.device("cpu"), 2).steps(torch.arange(len(rows)), width)
    return Batch(**tensors, weight_B=torch.ones(len(rows)), denominator=len(rows))
