"""Public and generated data sets, for a program and for `itrec data get` and `itrec data make`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.events import Events, read
from itrec_dist.config import pick
from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri, shown

if TYPE_CHECKING:
    from itrec_dist.data.sources.download import Progress
    from itrec_dist.data.sources.synthetic import Generated


def download(name: str, to: str | Path, *, overwrite: bool = False) -> Events:
    """Download a MovieLens release from its publisher, check it and unpack it into `to/name`.

    The README in that folder states the terms of use, which are binding. The environment variable
    ITREC_MOVIELENS_URL names a mirror.

    Args:
        name: the release, such as "ml-1m" or "ml-latest-small".
        to: folder in which the folder `name` is made.
        overwrite: whether to replace an earlier download.

    Returns:
        The events, for `split`.

    Raises:
        ConfigError: there is no such release, or `to` is a URI.
        DataError: the file is damaged.
        EnvironmentProblem: the server cannot be reached, or does not send the file.
        OutputError: the folder exists already, or cannot be written.

    Examples:
        >>> data = itrec.split(itrec.download("ml-1m", "data"), protocol="leave_one_out")
    """
    from itrec_dist.data.sources import download as downloads
    from itrec_dist.options import data_get

    given = {"name": name, "to": to, "overwrite": overwrite}
    place = downloaded(data_get.parser().parse_settings(given))
    return read(place, source=downloads.release(name).format)


def downloaded(parsed: Any, progress: Progress | None = None) -> Path:
    """Do what the options of `itrec data get` say; returns the folder.

    Raises:
        ItrecError: see `download`.
    """
    from itrec_dist.data.sources import download as downloads

    if isinstance(parsed.to, Uri):
        raise ConfigError(
            f"to={shown(parsed.to)} is a URI, and the formats of MovieLens are read from a folder "
            "on this machine alone: give a path, and the URI to `itrec window --out`"
        )
    url = os.environ.get(downloads.MIRROR_VARIABLE) or downloads.PUBLISHER_URL
    return downloads.fetch(
        parsed.name, parsed.to, overwrite=parsed.overwrite,
        server=downloads.Server(url=url), progress=progress,
    )  # fmt: skip


def generate(out: str | Path, *, overwrite: bool = False, **settings: Any) -> Events:
    """Generate users, movies and ratings in the file format of MovieLens-1M, or as Parquet.

    They have planted structure that sequence models can learn and counting cannot. They are not
    MovieLens, and figures on them say nothing about people.

    Args:
        out: folder to write; with format="parquet" also its URI.
        overwrite: whether to replace the folder if it was generated.
        settings: by the names of the options of `itrec data make`: `users`, `movies`,
            `ratings_per_user` (the mean), `seed` and `format`. The same settings give the same
            files.

    Returns:
        The events, for `split`.

    Raises:
        ConfigError: a setting is unknown or out of its range.
        EnvironmentProblem: `out` is a URI that cannot be reached.
        OutputError: `out` exists, or cannot be written.

    Examples:
        >>> data = itrec.split(itrec.generate("data", users=600), protocol="leave_one_out")
    """
    from itrec_dist.options import data_make

    given = {**settings, "out": out, "overwrite": overwrite}
    parsed = data_make.parser().parse_settings(given)
    generated(parsed)
    if parsed.format == "ml-1m":
        return read(out, source="ml-1m")
    from itrec_dist.data.sources.synthetic import files
    from itrec_dist.storage.outputs import below

    return read(
        below(parsed.out, files.ParquetFiles.ratings_file),
        rating="rating", title="title",
        items=below(parsed.out, files.ITEMS), item_features=["genres"],
        users=below(parsed.out, files.USERS), user_features=list(files.USER_FEATURES),
    )  # fmt: skip


def generated(parsed: Any) -> Generated:
    """Do what the options of `itrec data make` say.

    Raises:
        ItrecError: see `generate`.
    """
    from itrec_dist.data.sources import synthetic

    settings = pick(synthetic.SyntheticConfig, parsed)
    return synthetic.generate(settings, parsed.out, overwrite=parsed.overwrite)
