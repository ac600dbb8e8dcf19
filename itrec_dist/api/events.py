"""Events of users with items, as an input of windowing: nothing is read before they are split."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.data import sources
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.options import window as window_options
from itrec_dist.storage.uri import Uri, shown

if TYPE_CHECKING:
    from itrec_dist.data.doors.files import Place

DESCRIBED = ("items", "users")
"""The settings that name tables besides that of the events."""

_USUAL = {"user": "user", "item": "item", "timestamp": "timestamp"}
_COLUMNS = (*_USUAL, "order", "session", "rating", "title", "vector")


@dataclasses.dataclass(frozen=True, repr=False)
class Events:
    """Events to be split; made by `read`."""

    source: str
    """Their format: `table`, `ml-1m` and so on."""
    inputs: tuple[Place, ...]
    """Paths, URIs and tables in memory."""
    settings: Mapping[str, Any]
    """The settings of the source, by the names of the options of `itrec window`."""
    described: Mapping[str, Place] = dataclasses.field(default_factory=dict)
    """The tables of items and users that are in memory."""

    def __repr__(self) -> str:
        places = ", ".join(shown(str(place)) for place in self.inputs)
        given = [f"{name}={value!r}" for name, value in self.settings.items()]
        return f"Events({', '.join([places, f'source={self.source!r}', *given])})"


def read(
    data: Any,
    *,
    user: str = "user",
    item: str = "item",
    timestamp: str | None = "timestamp",
    source: str = "table",
    **settings: Any,
) -> Events:
    """Events of users with items, from a table in memory or from files.

    Args:
        data: a DataFrame of pandas or Polars, an Arrow table, a DuckDB relation (or anything else
            with an Arrow C stream), a path or URI, or a list of them, read one after the other. The
            order of the rows decides between events of one time.
        user: column of user ids.
        item: column of item ids.
        timestamp: column of times: numbers or dates; None if there is only an `order`.
        source: format of the data: a table, or such as "ml-1m".
        settings: further settings of the source, as `itrec window --help` lists them: the columns
            `rating`, `order`, `session`, `title` and `vector`; `items` and `users`, tables in
            memory or files; `item_features`, `glob`, `query` and so on.

    Returns:
        What `split` takes. Nothing is read yet, so that a missing column is found when it splits.

    Raises:
        ConfigError: a setting is unknown or of the wrong type.
        DataError: `data` is no table.

    Examples:
        >>> events = itrec.read(frame, user="customer", item="sku", timestamp="bought_at")
    """
    kind = sources.settings_of(source)
    own = {field.name for field in dataclasses.fields(kind)}
    given = dict(settings)
    if "columns" in own:
        columns = {"user": user, "item": item, "timestamp": timestamp}
        columns = {name: value for name, value in columns.items() if value != _USUAL[name]}
        columns |= {n: given.pop(n) for n in _COLUMNS if n in given and n not in own}
        if columns or "columns" in given:
            given["columns"] = {**given.get("columns", {}), **columns}
    inputs = tuple(map(_place, data)) if isinstance(data, (list, tuple)) else (_place(data),)
    if not inputs:
        raise DataError("the list of inputs is empty: give at least one table or path")
    described = {name: _place(given[name]) for name in DESCRIBED if given.get(name) is not None}
    described = {name: place for name, place in described.items() if not _is_named(place)}
    given |= {name: Path(name) for name in described}
    events = Events(source, inputs, given, described)
    parser = window_options.parser_for({"source": source})
    parser.parse_settings(settings_of(events) | {"out": Path("shards")})
    if others := [name for name in given if name.partition(".")[0] not in own]:
        raise ConfigError(
            f"{others[0]} is no setting of the source {source}: give it to split, or one of "
            f"{', '.join(sorted(own))}"
        )
    return events


def settings_of(events: Events) -> dict[str, Any]:
    """The settings of `itrec window` for these events, with names in place of tables in memory."""
    named = [place if _is_named(place) else Path("rows") for place in events.inputs]
    return {"source": events.source, "input": named, **events.settings}


def _is_named(place: Place) -> bool:
    return isinstance(place, (Path, Uri))


def _place(data: Any) -> Place:
    """A path, a URI or a table in memory.

    Raises:
        DataError: it is none of them.
    """
    if isinstance(data, str):
        return Uri(data) if "://" in data else Path(data)
    if isinstance(data, os.PathLike):
        return Path(data)
    from itrec_dist.data.doors.memory import Rows

    return Rows(data)
