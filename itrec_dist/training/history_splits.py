"""The feeds of a run on histories, which are kept in memory."""

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.feeds import Feed
from itrec_dist.data.history_feeds import (
    HistoryFeed,
    HistoryShare,
    HistoryTable,
    Use,
    as_judged,
    as_windows,
)
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TEST, TRAIN, VALIDATION
from itrec_dist.data.shards.arrays import HistoryRows, Windows
from itrec_dist.data.shards.first_times import first_times
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.errors import ConfigError
from itrec_dist.training.config import RunConfig


class HistorySplits:
    """Builds the feeds of one worker."""

    def __init__(
        self, run: RunConfig, manifest: Manifest, context: WorkerContext, *, steps: bool
    ) -> None:
        """Read nothing yet; `steps` is whether the model learns from every position."""
        self._run, self._manifest, self._context, self._steps = run, manifest, context, steps
        self.sampled: Windows | None = None
        """Rows that the report shows: of the test split, else of validation."""
        self.first_times_C: torch.Tensor | None = None
        """When training first has each item; set by reading it, if events have times."""

    def read(self, splits: NodeSplits, num_sampled: int) -> dict[str, Feed]:
        """The feeds of the splits that the run needs, by split, and of the training sample."""
        run = self._run
        feeds: dict[str, Feed] = {}
        for split in (TRAIN, VALIDATION, TEST):
            if not self._manifest.num_windows(split):
                continue
            if split == TEST and not run.evaluation.judge_test:
                continue
            rows = splits.histories(split)
            if split != TRAIN:
                feeds[split] = self.judged(rows)
                shown = rows.take(spread(len(rows), num_sampled))
                inputs, targets = self._manifest.input_length, self._manifest.target_length
                self.sampled = as_windows(shown, inputs, targets)
                continue
            feeds[split] = self._training(rows)
            if not self._manifest.has_order_alone:
                first_times_C = first_times(rows, self._manifest.num_items)
                self.first_times_C = torch.from_numpy(first_times_C)
            if run.evaluation.train_sample:
                sample = rows.take(spread(len(rows), run.evaluation.train_sample))
                feeds["train sample"] = self.judged(as_judged(sample))
        return feeds

    def judged(self, rows: HistoryRows) -> Feed:
        """A feed of rows to be judged."""
        return self._feed(rows, self._share(self._run.evaluation.batch_size), "judged")

    def _training(self, rows: HistoryRows) -> Feed:
        run = self._run
        tokens = run.training.batch_tokens
        share = self._share(run.training.batch_size, tokens, run.engine.accumulate)
        return self._feed(rows, share, "steps" if self._steps else "prefixes")

    def _share(
        self, batch_size: int, batch_tokens: int | None = None, multiple: int = 1
    ) -> HistoryShare:
        context = self._context
        return HistoryShare(batch_size, batch_tokens, multiple, context.rank, context.world_size)

    def _feed(self, rows: HistoryRows, share: HistoryShare, use: Use) -> Feed:
        device = self._context.device
        held = torch.device("cpu") if self._run.feed.cache == "host" else device
        training = self._run.training
        ahead = Ahead(training.next_targets, training.next_within) if use != "judged" else None
        table = HistoryTable(rows, held, self._manifest.target_length, ahead)
        if use != "judged" and not table.num_targets.any():
            raise ConfigError(
                f"training.next_within={training.next_within} leaves nothing to learn from: no "
                "event of these histories follows another one so soon, set it higher or to null"
            )
        # A model without steps may have a vector for each of input_length positions.
        width = None if self._steps else self._manifest.input_length
        return HistoryFeed(table, share, device, use, width)


def spread(length: int, count: int) -> npt.NDArray[np.int64]:
    """Up to `count` row numbers, evenly spaced over `length` rows."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
