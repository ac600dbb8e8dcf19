"""Shards: events that were split into training, validation and test."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist import config
from itrec_dist.api.events import Events, read, settings_of
from itrec_dist.data import sources
from itrec_dist.data.shards import fetch
from itrec_dist.errors import ConfigError, ItrecWarning
from itrec_dist.options import window as window_options
from itrec_dist.storage import cache
from itrec_dist.storage.uri import Uri, parse_place

if TYPE_CHECKING:
    from itrec_dist.data.doors.files import Place
    from itrec_dist.data.manifest import Manifest
    from itrec_dist.data.windowing.buckets import Cluster


class Data:
    """A shards folder: samples of training, validation and test, and tables of items and users."""

    def __init__(self, path: Path | Uri) -> None:
        """Read the manifest of a folder.

        Raises:
            ConfigError: there is no shards folder at the URI.
            ShardsError: it is no shards folder.
        """
        self.path = path
        """Where it is."""
        self.manifest: Manifest = fetch.manifest_of(path)
        """Everything that is recorded of it."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal events and settings, wherever they came from."""
        return self.manifest.fingerprint

    @property
    def splits(self) -> dict[str, int]:
        """The number of samples of each split."""
        return {split: self.manifest.num_windows(split) for split in self.manifest.splits}

    @property
    def num_users(self) -> int:
        """Users that were kept."""
        return self.manifest.num_users

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self.manifest.num_items

    @functools.cached_property
    def warnings(self) -> tuple[str, ...]:
        """What to know before training on it."""
        from itrec_dist.tasks import summary

        return tuple(summary.warnings(self.manifest))

    def summary(self) -> str:
        """Filters, coverage, splits and the leakage audit, as `itrec window` prints them."""
        from itrec_dist.tasks import summary

        return "\n".join(summary.lines(self.manifest)).rstrip()

    def __repr__(self) -> str:
        counts = "".join(f", {split}={count:,}" for split, count in self.splits.items())
        return (
            f"Data({str(self.path)!r}: {self.manifest.samples} by {self.manifest.protocol}{counts}"
            f", users={self.num_users:,}, items={self.num_items:,}, "
            f"fingerprint={self.fingerprint[:12]})"
        )


def split(
    events: Any,
    *,
    protocol: str | None = None,
    samples: str | None = None,
    task: str | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Split events into training, validation and test, audit what leaks, and write shards.

    Args:
        events: what `read` returned, or whatever it takes.
        protocol: how to split, such as "leave_one_out" or "global_time".
        samples: "histories" or "windows". None takes histories where task and protocol have them,
            unlike `itrec window`.
        task: "next_items", the default, or "ratings".
        out: folder to write, or its URI. None writes to the folder `splits` of the cache
            (ITREC_CACHE, or ~/.cache/itrec-dist), where equal data are kept once.
        settings: further settings by the names of the options of `itrec window`, and `overwrite`.

    Returns:
        The shards.

    Raises:
        ConfigError: a setting is unknown, or does not fit the others.
        DataError: the events cannot be used, such as for a column that is missing.
        EnvironmentProblem: `out` is a URI that cannot be reached.
        OutputError: `out` exists or cannot be written.

    Warns:
        ItrecWarning: something about the data is doubtful.

    Examples:
        >>> data = itrec.split(events, protocol="leave_one_out", max_length=50)
        >>> data.splits
        {'test': 6040, 'train': 6040, 'validation': 6040}
    """
    given = events if isinstance(events, Events) else read(events)
    named = {"task": task, "samples": samples, "protocol": protocol}
    wanted = settings_of(given) | settings
    wanted |= {name: value for name, value in named.items() if value is not None}
    if "samples" not in wanted and "config" not in wanted:
        wanted["samples"] = _samples_of(wanted.get("task"), wanted.get("protocol"))
    place = cache.splits() / f"new-{uuid.uuid4().hex}" if out is None else parse_place(out)
    if out is not None or "config" not in wanted:
        wanted["out"] = place
    parsed = window_options.parser_for(wanted).parse_settings(wanted)
    data = windowed(parsed, given.inputs, given.described)
    if isinstance(parsed.out, Path) and parsed.out.parent == cache.splits():
        data = _kept_once(data)
    for text in data.warnings:
        warnings.warn(text, ItrecWarning, stacklevel=2)
    return data


def open(path: str | Path) -> Data:
    """Open a shards folder that `split` or `itrec window` wrote.

    Args:
        path: the folder, or its URI.

    Raises:
        ShardsError: it is no shards folder.

    Examples:
        >>> itrec.open("shards").num_items
        3706
    """
    return Data(parse_place(path))


def shards_of(data: Data | str | Path) -> str | Path:
    """Where the shards are that a function of the library was given.

    Raises:
        ConfigError: it was given something else, such as events.
    """
    if isinstance(data, Data):
        return data.path
    if isinstance(data, (str, Path)):
        return data
    raise ConfigError(
        f"{type(data).__name__} is no shards folder: give what split or open returned, or a path"
    )


def windowed(parsed: Any, inputs: Sequence[Place] | None = None, described: Any = None) -> Data:
    """Do what the options of `itrec window` say.

    Args:
        parsed: the parsed options.
        inputs: the inputs, in place of those of the options.
        described: tables in memory of items and users, in place of those of the options.

    Raises:
        ItrecError: see `split`.
    """
    from itrec_dist import tasks

    windows = tasks.data_of(parsed.task).of(parsed.samples)
    if parsed.distributed:
        windows = windows.on(functools.partial(_joined, parsed.address))
    elif parsed.address is not None:
        raise ConfigError(
            f"--address {parsed.address} names a Ray cluster, which --distributed uses: give both "
            "or none"
        )
    settings: Any = config.pick(windows.settings, parsed)
    source: Any = config.pick(sources.settings_of(parsed.source), parsed)
    if described:
        source = dataclasses.replace(source, **described)
    places = parsed.input if inputs is None else inputs
    windows.write(parsed.source, places, parsed.out, settings, source, overwrite=parsed.overwrite)
    fetch.forget()
    return Data(parsed.out)


def _joined(address: str | None) -> Cluster:
    from itrec_dist import launch

    return launch.connect_windowing(address)


def _samples_of(task: str | None, protocol: str | None) -> str:
    """The kind of samples that has the protocol: histories where both kinds have it.

    But random_windows is of windows, unless histories are asked for.
    """
    from itrec_dist import tasks

    kinds = tasks.data_of(task or tasks.DEFAULT).kinds
    having = [kind for kind, one in kinds.items() if protocol in (None, *one.protocols)]
    if not having:
        return next(reversed(kinds))
    return "windows" if protocol == "random_windows" else having[-1]


def _kept_once(data: Data) -> Data:
    """Move new shards to where their fingerprint says; if they are there already, keep those."""
    assert isinstance(data.path, Path)
    place = data.path.with_name(data.fingerprint[:16])
    try:
        data.path.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(data.path, ignore_errors=True)
    return Data(place)
