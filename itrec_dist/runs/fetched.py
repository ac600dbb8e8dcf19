"""Local copies of runs: those at a URI are copied to this machine first."""

from pathlib import Path

from itrec_dist.errors import CheckpointError
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri


def local_run(place: Uri | Path, name: str | None = None) -> Path:
    """A run directory on this machine: `place` itself, or a copy of the run at a URI.

    Args:
        place: path or URI of the run.
        name: a checkpoint to copy as well, without its training state.

    Raises:
        CheckpointError: there is no run or no such checkpoint at the URI.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    if isinstance(place, Path):
        return place
    mirror = Mirror(place, cache.cache("views", place))
    if mirror.store.size("config.yaml") is None:
        raise CheckpointError(
            f"{place} is not a run directory (it has no config.yaml): give a place that "
            "`itrec train` wrote"
        )
    mirror.fetch_files()
    if name is not None:
        mirror.fetch_checkpoint(name)
    return mirror.folder


def local_runs(place: Uri | Path) -> dict[Path, Uri | None]:
    """The runs at or below a URI, each copied to this machine -> where it is a copy of.

    A path is returned unchanged.

    Raises:
        CheckpointError: there is none.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    if isinstance(place, Path):
        return {place: None}
    files = Store(place).files()
    folders = sorted(name.rpartition("/")[0] for name in files if _is_config(name))
    runs = [
        folder
        for folder in folders
        if any(f"{folder}/{file}".lstrip("/") in files for file in ("log.jsonl", "evaluation.json"))
    ]
    if not runs:
        raise CheckpointError(
            f"{place} holds no run directory (a folder with config.yaml and log.jsonl): give a "
            "place that `itrec train` wrote"
        )
    uris = [place.below(folder) if folder else place for folder in runs]
    return {local_run(uri).resolve(): uri for uri in uris}


def _is_config(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file == "config.yaml" and "checkpoints" not in folder.split("/")
