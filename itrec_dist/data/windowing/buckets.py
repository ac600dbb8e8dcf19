"""Windowing over buckets of users: what is done per event, on a cluster; the rest, here.

A bucket is a run of consecutive users, by user_key, with about as many events as the others. SQL
that reads or makes tables of events keeps to the events of each user, so it gives the same rows for
the buckets, one after the other, as for all users at once. What counts over all users, such as the
items of the catalogue, is gathered from the buckets and added up by SQL that reads no events.

Owns where users and tables are. Leaves running work to a `Cluster`, such as launch/windowing.py.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from itrec_dist.data.database import ROWS_PER_BATCH, Database, Fill, Flow, tables_read

OF_EVENTS = frozenset(("keyed_ratings", "events", "sequences", "windows", "event_uses"))
"""The tables whose rows stay in the buckets."""
EVENTS_PER_BUCKET = 4_000_000
_LEAST_EVENTS = 100_000  # of a bucket where there are few: less is not worth a task
_RATINGS_PER_PART = 4_000_000

Ref = Any
"""A table on the cluster."""
Work = Callable[[Database], pa.Table]


class Cluster(Protocol):
    """Runs functions elsewhere, and again where they were lost."""

    workers: int
    """How many run at once."""

    def put(self, rows: pa.Table) -> Ref:
        """Make a table known to all workers."""

    def start(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Ref]:
        """Call a function with tables in the place of references; returns one for each result."""

    def get(self, ref: Ref) -> Any:
        """A result.

        Raises:
            ItrecError: the function raised it, or its workers were lost too often.
        """


@dataclass(frozen=True)
class _Bucket:
    """Users of consecutive keys."""

    first_key: int
    last_key: int
    held: dict[str, list[Ref]]
    """Table of OF_EVENTS -> its rows, in parts that follow one another."""


@dataclass(frozen=True)
class _Settings:
    """Of the database that a worker opens."""

    memory_limit: str | None
    folders: tuple[Path, ...]


class BucketedDatabase(Database):
    """A database whose tables of events are held by a cluster, bucket by bucket.

    Everything else is as in `Database`, of which this is the driver's: tables of users, items and
    positions of windows are here, and each bucket is sent those of its users.
    """

    def __init__(
        self,
        cluster: Cluster,
        memory_limit: str | None = None,
        threads: int | None = None,
        folders: Iterable[Path] = (),
    ) -> None:
        """As `Database`; the limit holds here, and for each worker's."""
        given = tuple(folders)
        super().__init__(memory_limit, threads, given)
        self._cluster = cluster
        self._settings = _Settings(memory_limit, given)
        self._buckets: list[_Bucket] = []
        self._sent: dict[str, dict[int | None, Ref]] = {}

    def view(self, name: str, sql_name: str) -> None:
        """Key the ratings and partition them into buckets; no other view is made of events."""
        assert name == "keyed_ratings", f"{name} is no table of events"
        self._read(sql_name)
        total = len(self._connection.table("ratings"))
        least = max(_LEAST_EVENTS, total // (2 * self._cluster.workers) + 1)
        size = min(EVENTS_PER_BUCKET, least)
        self._buckets = [
            _Bucket(**found, held={name: []})
            for found in self.rows("shared/user_ranges", events_per_block=size)
        ]
        ends = [bucket.last_key for bucket in self._buckets]
        keys = [self._reference(keys, None) for keys in ("user_keys", "item_keys")]
        parts: deque[list[Ref]] = deque()
        for first_row, rows in self._parts("ratings"):
            while len(parts) >= self._cluster.workers:
                self._cluster.get(parts.popleft()[0])
            part = self._cluster.put(rows)
            partitioned = self._cluster.start(
                _partitioned, self._settings, sql_name, first_row, ends, part, *keys,
                results=1 + len(ends),
            )  # fmt: skip
            for bucket, ref in zip(self._buckets, partitioned[1:], strict=True):
                bucket.held[name].append(ref)
            parts.append(partitioned)
        for part in parts:
            self._cluster.get(part[0])

    def table(self, name: str, sql_name: str, **parameters: Any) -> int:
        """As `Database.table`; of a table of events in the buckets."""
        reads = self._reads(sql_name)
        if name not in OF_EVENTS and not self._are_of_events(reads):
            self._sent.pop(name, None)
            return super().table(name, sql_name, **parameters)
        work = partial(_selected, sql_name=sql_name, parameters=parameters)
        if name in OF_EVENTS:
            return self._keep(name, work, reads)
        rows = self._gathered(work, reads)
        self.register(name, rows)
        return len(rows)

    def fill(self, name: str, reads: Sequence[str], fill: Fill) -> None:
        """As `Database.fill`, in the buckets."""
        self._keep(name, partial(_filled, name=name, fill=fill), reads)

    def flow(self, reads: Sequence[str], flow: Flow) -> Iterator[pa.RecordBatch]:
        """As `Database.flow`, of one bucket after the other."""
        for rows in self._each(partial(_flowed, flow=flow), reads):
            yield from rows.to_batches(max_chunksize=ROWS_PER_BATCH)

    def arrow(self, sql_name: str, **parameters: Any) -> pa.Table:
        """As `Database.arrow`: of tables of events, the rows of one bucket after the other."""
        reads = self._reads(sql_name)
        if not self._are_of_events(reads):
            return super().arrow(sql_name, **parameters)
        return self._gathered(partial(_selected, sql_name=sql_name, parameters=parameters), reads)

    def batches(
        self, sql_name: str, rows_per_batch: int = ROWS_PER_BATCH, **parameters: Any
    ) -> Iterator[pa.RecordBatch]:
        """As `Database.batches`, likewise."""
        reads = self._reads(sql_name)
        if not self._are_of_events(reads):
            yield from super().batches(sql_name, rows_per_batch, **parameters)
            return
        work = partial(_selected, sql_name=sql_name, parameters=parameters)
        for rows in self._each(work, reads):
            yield from rows.to_batches(max_chunksize=rows_per_batch)

    def register(self, name: str, rows: pa.Table) -> None:
        """As `Database.register`."""
        self._sent.pop(name, None)
        super().register(name, rows)

    def append(self, name: str, rows: pa.Table) -> None:
        """As `Database.append`."""
        self._sent.pop(name, None)
        super().append(name, rows)

    def drop(self, *names: str) -> None:
        """As `Database.drop`."""
        for name in names:
            self._sent.pop(name, None)
            for bucket in self._buckets:
                bucket.held.pop(name, None)
        super().drop(*(name for name in names if name not in OF_EVENTS))

    def _reads(self, sql_name: str) -> frozenset[str]:
        return tables_read(self._read(sql_name))

    def _are_of_events(self, reads: Iterable[str]) -> bool:
        return any(name in self._buckets[0].held for name in reads) if self._buckets else False

    def _parts(self, name: str) -> Iterator[tuple[int, pa.Table]]:
        """The rows of a table in consecutive parts, and where each begins."""
        first, held = 0, 0
        batches: list[pa.RecordBatch] = []
        for batch in self.stored(name, ROWS_PER_BATCH):
            batches.append(batch)
            held += batch.num_rows
            if held >= _RATINGS_PER_PART:
                yield first, pa.Table.from_batches(batches)
                first, held, batches = first + held, 0, []
        if batches:
            yield first, pa.Table.from_batches(batches)

    def _keep(self, name: str, work: Work, reads: Iterable[str]) -> int:
        """Make a table of events; returns its rows."""
        made = self._started(work, reads)
        total = 0
        for bucket, (count, rows) in zip(self._buckets, made, strict=True):
            total += self._cluster.get(count)
            bucket.held[name] = [rows]
        return total

    def _gathered(self, work: Work, reads: Iterable[str]) -> pa.Table:
        """What the buckets gave, one after the other."""
        return pa.concat_tables(self._each(work, reads)).combine_chunks()

    def _each(self, work: Work, reads: Iterable[str]) -> Iterator[pa.Table]:
        for _, rows in self._started(work, reads):
            yield self._cluster.get(rows)

    def _started(self, work: Work, reads: Iterable[str]) -> Iterator[list[Ref]]:
        """The number of rows and the rows of each bucket, of which a few are worked on ahead."""
        names = sorted(reads)
        ahead: deque[list[Ref]] = deque()
        for number in range(len(self._buckets)):
            refs = [(name, ref) for name in names for ref in self._inputs(name, number)]
            ahead.append(
                self._cluster.start(
                    _worked, self._settings, work, [name for name, _ in refs],
                    *(ref for _, ref in refs), results=2,
                )
            )  # fmt: skip
            if len(ahead) > 2 * self._cluster.workers:
                yield ahead.popleft()
        yield from ahead

    def _inputs(self, name: str, number: int) -> list[Ref]:
        """A table as a bucket sees it."""
        held = self._buckets[number].held.get(name)
        return [self._reference(name, number)] if held is None else held

    def _reference(self, name: str, number: int | None) -> Ref:
        """A table of the driver, or its rows of the users of a bucket; sent once."""
        columns = self._connection.table(name).columns
        by = next((key for key in ("user_key", "user_id") if key in columns), None)
        number = None if by is None else number
        sent = self._sent.setdefault(name, {})
        if number not in sent:
            rows = self._connection.table(name)
            if by is not None and number is not None:
                first, last = self._users(number, by)
                rows = rows.filter(f"{by} between {first} and {last}")
            sent[number] = self._cluster.put(rows.to_arrow_table())
        return sent[number]

    def _users(self, number: int, by: str) -> tuple[int, int]:
        """The first and the last key of a bucket, or the first and the last id."""
        bucket = self._buckets[number]
        if by == "user_key":
            return bucket.first_key, bucket.last_key
        kept = self._connection.table("kept_users").filter(
            f"user_key between {bucket.first_key} and {bucket.last_key}"
        )
        first, last = kept.aggregate("min(user_id), max(user_id)").fetchall()[0]
        return (first, last) if first is not None else (1, 0)


def _worked(
    settings: _Settings, work: Work, names: Sequence[str], *tables: pa.Table
) -> tuple[int, pa.Table]:
    """Do the work of a bucket, given its tables; those of the same name follow one another."""
    with Database(settings.memory_limit, 1, settings.folders) as database:
        named = itertools.groupby(zip(names, tables, strict=True), key=lambda pair: pair[0])
        for name, parts in named:
            database.register(name, pa.concat_tables(rows for _, rows in parts))
        rows = work(database)
    return len(rows), rows


def _partitioned(
    settings: _Settings,
    sql_name: str,
    first_row: int,
    ends: Sequence[int],
    *tables: pa.Table,
) -> tuple[Any, ...]:
    """The keyed ratings of a part, for each bucket; before them, how many there are."""
    work = partial(_selected, sql_name=sql_name, parameters={})
    count, rows = _worked(settings, work, ("ratings", "user_keys", "item_keys"), *tables)
    place = rows.column_names.index("source_row")
    source_rows = pc.add(rows["source_row"], first_row)
    rows = rows.set_column(place, "source_row", source_rows).sort_by("source_row")
    begins = [-1, *ends[:-1]]
    keys = rows["user_key"]
    return count, *(
        rows.filter(pc.and_(pc.greater(keys, begin), pc.less_equal(keys, end)))
        for begin, end in zip(begins, ends, strict=True)
    )


def _selected(database: Database, sql_name: str, parameters: Mapping[str, Any]) -> pa.Table:
    return database.arrow(sql_name, **parameters)


def _filled(database: Database, name: str, fill: Fill) -> pa.Table:
    fill(database)
    return database.whole(name)


def _flowed(database: Database, flow: Flow) -> pa.Table:
    batches = list(flow(database))
    assert batches, "a flow has at least one batch"
    return pa.Table.from_batches(batches)
