"""Passes for actors of Ray, which import this module."""

import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from itrec_dist.data.shards.splits import HistoryReader
from itrec_dist.distributed.readers import reserve


@dataclass(frozen=True)
class Telling(HistoryReader):
    """Says in a file which processes read."""

    told: Path | None = None

    def read(self, files, rows):
        with self.told.open("a") as told:
            print(os.getpid(), file=told)
        yield from super().read(files, rows)

    @property
    def processes(self):
        return [int(line) for line in self.told.read_text().split()]


def dying(skip):
    os.kill(os.getpid(), signal.SIGKILL)
    yield {}


@dataclass(frozen=True)
class Endless:
    """Numbers without end; says which process makes them, and how many."""

    folder: Path
    size: int = 1

    def __call__(self, skip):
        (self.folder / "process").write_text(str(os.getpid()))
        for number in itertools.count(skip):
            (self.folder / "made").write_text(str(number))
            yield {"number": np.full(self.size, number)}


@dataclass(frozen=True)
class Large:
    """A hundred items of a megabyte."""

    def __call__(self, skip):
        for number in range(skip, 100):
            yield {"number": np.full(2**17, number)}


class Worker:
    """An actor that has a pass read for it."""

    def begin(self, folder):
        """Take an item of an endless pass; returns it."""
        self.reader = reserve(300)
        self.items = self.reader(Endless(folder), 0)
        return int(next(self.items)["number"][0])
