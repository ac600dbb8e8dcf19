"""What `itrec recommend` does with its options: whom to serve, with what, and the table of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.events import Events
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    import pyarrow as pa

    from itrec_dist.api.run import Run
    from itrec_dist.inference.load import Restored
    from itrec_dist.inference.recommend import Outcome, Request
    from itrec_dist.inference.served import Served


@dataclass(frozen=True)
class Recommendations:
    """Users and what is asked for them; ranked when they are written or made a table."""

    restored: Restored
    served: Served
    request: Request
    notes: tuple[str, ...]
    """Which of the items to choose among, or to leave out, are unknown; which columns are absent.
    """
    warning: str | None
    """Whether the shards differ from those of the training."""

    def table(self) -> pa.Table:
        """All of them: user, rank, item, title and score.

        Raises:
            ItrecError: see `inference.recommend.recommend`.
        """
        from itrec_dist.inference.recommend import table_of

        return table_of(self.restored, self.served, self.request)

    def write(self, out: Uri | Path, *, overwrite: bool) -> Outcome:
        """Write them to a Parquet file, block by block.

        Raises:
            ItrecError: see `inference.recommend.recommend`.
        """
        from itrec_dist.inference.recommend import recommend

        return recommend(self.restored, self.served, self.request, out, overwrite=overwrite)

    @property
    def skipped(self) -> str | None:
        """The events of items that the model does not know, in words; None if there are none."""
        return next(iter(skipped(self.served.unknown_events, self.served.unknown_items)), None)


def skipped(num_events: int, num_items: int) -> tuple[str, ...]:
    """The events of items that the model does not know, in words; empty if there are none."""
    if not num_events:
        return ()
    counts = ((num_events, "event"), (num_items, "item"))
    events, items = (f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    return (f"skipped {events} of {items} unknown to the model",)


def told_of_lacking(lacking: Sequence[str]) -> tuple[str, ...]:
    """The columns that the model is told and the histories have not, in words."""
    if not lacking:
        return ()
    columns = f"column{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
    return (f"the histories have no {columns}: the model takes the values as missing",)


def requested(run: Run, parsed: Any, histories: Any = None) -> Recommendations:
    """Read whom to serve.

    Args:
        run: the run.
        parsed: the parsed options of `itrec recommend`.
        histories: whom to serve, in place of the options' histories; see `Run.recommend`.

    Raises:
        ItrecError: the histories cannot be used, or the shards do not fit the model.
    """
    # A namespace has a method `items`, so that option is read by its name.
    if parsed["items"] is not None and parsed.histories is not None:
        raise ConfigError("--items and --histories are both histories to serve: give one of them")
    restored = run.restored
    place = parsed.shards or restored.run.shards
    request, notes = requested_items(restored, parsed)
    served, warning = _served(restored, place, parsed, histories)
    if request.at is not None and not served.has_times:
        served = served.at(request.at)  # what was listed happens in the visit that is under way
    notes += told_of_lacking(served.lacking)
    return Recommendations(restored, served, request, notes, warning)


def requested_items(restored: Restored, parsed: Any) -> tuple[Request, tuple[str, ...]]:
    """Read the lists of items; returns what is asked for, and how many of them are unknown.

    Raises:
        ConfigError: the time of the query is no time, or the model is not told it.
        DataError: a list cannot be read.
    """
    from itrec_dist.data.new_events import read_item_list
    from itrec_dist.inference import query_time
    from itrec_dist.inference.recommend import Request

    among, without = (
        None if given is None else read_item_list(given, restored.manifest)
        for given in (parsed.among, parsed.without)
    )
    notes = [
        f"--{name}: {len(unknown):,} of {len(set(listed or ())):,} items "
        f"{'is' if len(unknown) == 1 else 'are'} unknown"
        for name, listed in (("among", among), ("without", without))
        if (unknown := set(listed or ()) - set(restored.items.source_ids))
    ]
    at = None if parsed.at is None else query_time.given(restored, parsed.at)
    return Request(parsed.k, parsed.seen, among, without or (), at), tuple(notes)


def _served(
    restored: Restored, place: Uri | Path, parsed: Any, histories: Any
) -> tuple[Served, str | None]:
    """Whom to serve, and a warning if the shards are not those of the training."""
    from itrec_dist.data.new_events import read_item_list
    from itrec_dist.inference import served

    if parsed["items"] is not None:
        return served.from_items(restored, read_item_list(parsed["items"], restored.manifest)), None
    if parsed.histories is not None:
        return served.from_events(restored, parsed.histories, place), None
    if histories is None:
        return _of_shards(restored, place)
    if _is_sequence(histories) and not all(map(_is_sequence, histories)):
        everybody, warning = _of_shards(restored, place)
        return everybody.of([str(user) for user in histories]), warning
    return _of_histories(restored, histories, place), None


def _of_histories(restored: Restored, histories: Any, place: Uri | Path) -> Served:
    """Of lists of items, or of a table."""
    from itrec_dist.inference import served

    if isinstance(histories, Mapping):
        return _of_lists(restored, list(histories), list(histories.values()))
    if _is_sequence(histories):
        return _of_lists(restored, range(len(histories)), histories)
    if isinstance(histories, Events):
        (one, *others) = histories.inputs
        if others or histories.source != "table":
            raise DataError(f"{histories!r} is not one table here: give one table or file")
        return served.from_events(restored, one, place)
    return _of_table(restored, histories, place)


def _of_shards(restored: Restored, place: Uri | Path) -> tuple[Served, str | None]:
    from itrec_dist.data.shards import fetch
    from itrec_dist.inference import fitting, served

    shards = fetch.local(place)
    return served.from_shards(restored, shards), fitting.warning(restored, shards, place)


def _of_lists(restored: Restored, users: Sequence[Any], lists: Sequence[Any]) -> Served:
    from itrec_dist.inference import served

    items = [[str(item) for item in given] for given in lists]
    return served.from_lists(restored, [str(user) for user in users], items)


def _of_table(restored: Restored, given: Any, place: Uri | Path) -> Served:
    """Of a table with a list of items in each row, or with an event in each."""
    import pyarrow as pa

    from itrec_dist.data.doors.memory import Rows
    from itrec_dist.data.new_events import columns_of
    from itrec_dist.inference import served

    rows, columns = Rows(given), columns_of(restored.manifest)
    kinds = {field.name: field.type for field in rows.stream().schema}
    if pa.types.is_large_list(kinds.get(columns.item, pa.null())):
        table = rows.table()
        users = table[columns.user].to_pylist() if columns.user in kinds else range(len(table))
        return _of_lists(restored, users, [each or () for each in table[columns.item].to_pylist()])
    return served.from_events(restored, rows, place)


def _is_sequence(given: Any) -> bool:
    """Whether something is a list, or an array of NumPy; text is not."""
    is_array = hasattr(given, "tolist") and hasattr(given, "shape") and len(given.shape) > 0
    return isinstance(given, (list, tuple, range)) or is_array
