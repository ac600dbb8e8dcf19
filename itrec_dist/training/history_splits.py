"""The feeds of a run on histories, which are kept in memory or read again every epoch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.feeds import CacheName, Feed
from itrec_dist.data.history_buffers import Stream
from itrec_dist.data.history_feeds import (
    HistoryFeed,
    HistoryShare,
    HistoryTable,
    Use,
    as_judged,
    as_windows,
)
from itrec_dist.data.history_scan import scan
from itrec_dist.data.history_streams import StreamedHistories
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TEST, TRAIN, VALIDATION
from itrec_dist.data.shards import remote
from itrec_dist.data.shards.arrays import HistoryRows, Int64, Windows
from itrec_dist.data.shards.first_times import first_times
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.distributed.readers import Read, read_here
from itrec_dist.errors import ConfigError
from itrec_dist.training.config import RunConfig


class HistorySplits:
    """Builds the feeds of one worker."""

    def __init__(
        self, run: RunConfig, manifest: Manifest, context: WorkerContext, *, steps: bool
    ) -> None:
        """Read nothing yet; `steps` is whether the model learns from every position."""
        self._run, self._manifest, self._context, self._steps = run, manifest, context, steps
        self._cache = run.feed.cache
        self.sampled: Windows | None = None
        """Rows that the report shows: of the test split, else of validation."""
        self.first_times_C: torch.Tensor | None = None
        """When training first has each item; set by reading it, if events have times."""
        self.note: str | None = None
        """Where histories are read, if that is not in the workers; set by reading."""
        self._read: Read = read_here

    def read(self, splits: NodeSplits, cache: CacheName, num_sampled: int) -> dict[str, Feed]:
        """The feeds of the splits that the run needs, by split, and of the training sample."""
        run, self._cache = self._run, cache
        if cache == "none":
            folder = run.shards if isinstance(run.shards, Path) else None
            self._read, self.note = self._context.reader(run.feed.readers, folder)
        feeds: dict[str, Feed] = {}
        for split in (TRAIN, VALIDATION, TEST):
            if not self._manifest.num_windows(split):
                continue
            if split == TEST and not run.evaluation.judge_test:
                continue
            count = run.evaluation.train_sample if split == TRAIN else num_sampled
            places = spread(self._manifest.num_windows(split), count)
            if cache == "none":
                found = self._streamed(split, places)
            else:
                found = self._kept(splits, split, places)
            feeds[split], sample, first_times_C = found
            if split != TRAIN:
                inputs, targets = self._manifest.input_length, self._manifest.target_length
                self.sampled = as_windows(sample, inputs, targets)
                continue
            if not self._manifest.has_order_alone:
                self.first_times_C = torch.from_numpy(first_times_C)
            if run.evaluation.train_sample:
                feeds["train sample"] = self.judged(as_judged(sample))
        return feeds

    def _kept(
        self, splits: NodeSplits, split: str, places: Int64
    ) -> tuple[Feed, HistoryRows, Int64]:
        """The feed of a split in memory, the rows at `places`, and when it first has each item."""
        rows = splits.histories(split)
        sample = rows.take(places)
        if split != TRAIN:
            return self.judged(rows), sample, np.zeros(0, dtype=np.int64)
        return self._training(rows), sample, first_times(rows, self._manifest.num_items)

    def _streamed(self, split: str, places: Int64) -> tuple[Feed, HistoryRows, Int64]:
        """The same of a split that is read again every time."""
        context, is_training = self._context, split == TRAIN
        files, reader = remote.histories(self._run.shards, self._manifest, split)
        ahead = self._ahead if is_training else None
        asked = places if len(places) else np.zeros(1, dtype=np.int64)  # fillers need a row
        part = (context.rank, context.world_size, context.collect)
        found = scan(files, reader, asked, ahead, part, self._read)
        if is_training and not found.inputs.any():
            raise self._nothing_to_learn()
        use = self._training_use if is_training else "judged"
        events = self._run.feed.shuffle_events
        stream = Stream(reader, events, use, self._width, ahead)
        share = self._training_share if is_training else self._judged_share
        feed = StreamedHistories(found, stream, share, context.device, context.sum, self._read)
        return feed, found.sampled, found.first_times_C

    def judged(self, rows: HistoryRows) -> Feed:
        """A feed of rows to be judged."""
        return self._feed(rows, self._judged_share, "judged")

    def _training(self, rows: HistoryRows) -> Feed:
        return self._feed(rows, self._training_share, self._training_use)

    @property
    def _training_use(self) -> Use:
        return "steps" if self._steps else "prefixes"

    @property
    def _judged_share(self) -> HistoryShare:
        return self._share(self._run.evaluation.batch_size)

    @property
    def _training_share(self) -> HistoryShare:
        training = self._run.training
        multiple = self._run.engine.accumulate
        return self._share(training.batch_size, training.batch_tokens, multiple)

    @property
    def _ahead(self) -> Ahead:
        training = self._run.training
        return Ahead(training.next_targets, training.next_within)

    @property
    def _width(self) -> int | None:
        """A model without steps may have a vector for each of input_length positions."""
        return None if self._steps else self._manifest.input_length

    def _share(
        self, batch_size: int, batch_tokens: int | None = None, multiple: int = 1
    ) -> HistoryShare:
        context = self._context
        return HistoryShare(batch_size, batch_tokens, multiple, context.rank, context.world_size)

    def _feed(self, rows: HistoryRows, share: HistoryShare, use: Use) -> Feed:
        device = self._context.device
        held = torch.device("cpu") if self._cache == "host" else device
        ahead = self._ahead if use != "judged" else None
        table = HistoryTable(rows, held, self._manifest.target_length, ahead)
        if use != "judged" and not table.num_targets.any():
            raise self._nothing_to_learn()
        return HistoryFeed(table, share, device, use, self._width)

    def _nothing_to_learn(self) -> ConfigError:
        return ConfigError(
            f"training.next_within={self._run.training.next_within} leaves nothing to learn from: "
            "no event of these histories follows another one so soon, set it higher or to null"
        )


def spread(length: int, count: int) -> npt.NDArray[np.int64]:
    """Up to `count` row numbers, evenly spaced over `length` rows."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
