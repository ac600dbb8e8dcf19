"""The checkpoints of a run side by side: their names, how many stay, what a kill leaves behind.

    checkpoints/
      last             the newest one, with the training state
      last-00001200    those before it, by their step
      best             the best epoch so far
      best-00000400    those that were the best before it

A name that starts with a dot is half-written or half-removed, and nobody reads it. What stands in
a checkpoint is not known here, see runs/checkpoints/format.py.
"""

from collections.abc import Callable
from pathlib import Path

from itrec_dist.errors import CheckpointError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.storage import atomic

BEST, LAST = "best", "last"
KINDS = (BEST, LAST)


def put(folder: Path, kind: str, step: int, keep: int, fill: Callable[[Path], None]) -> None:
    """Make what `fill` writes the newest checkpoint of a kind, and let the oldest ones go.

    The new one is read back and found whole before anything that stands there is touched.

    Args:
        folder: the checkpoints of the run.
        kind: "best" or "last".
        step: that of the new checkpoint.
        keep: how many of this kind stay, the new one included.
        fill: writes a whole checkpoint into an empty folder.

    Raises:
        OutputError: it cannot be written, as on a full disk; what stood there still does.
        CheckpointError: what was written does not read back as it was written.
    """
    place = folder / kind
    aside = _aside(place, step) if keep > 1 else None
    with atomic.new_directory(
        place, marker=checkpoint_format.RECORD_FILE, overwrite=True, aside=aside
    ) as building:
        fill(building)
        checkpoint_format.verify(building)
    older = [o for o in older_ones(folder, kind) if step_of(o) < step]
    for stale in set(older_ones(folder, kind)) - set(older[: keep - 1]):
        atomic.remove(stale)  # a later step is of a course that was given up on resuming


def older_ones(folder: Path, kind: str) -> list[Path]:
    """The checkpoints of a kind that a newer one has replaced, the newest of them first."""
    found = (p for p in folder.glob(f"{kind}-*") if p.name.removeprefix(f"{kind}-").isdigit())
    return sorted(found, key=step_of, reverse=True)


def step_of(place: Path) -> int:
    """The step in the name of an older checkpoint."""
    return int(place.name.rpartition("-")[2])


def older_name(kind: str, step: int) -> str:
    """How a checkpoint is called once a newer one has taken its name."""
    return f"{kind}-{step:08d}"


def find(folder: Path, name: str) -> Path:
    """The checkpoint of this name.

    Raises:
        CheckpointError: there is none; the message names those that are there.
    """
    there = [p.name for kind in KINDS for p in (folder / kind, *older_ones(folder, kind))
             if p.is_dir()]  # fmt: skip
    if name not in there:
        raise CheckpointError(
            f"{folder} holds no checkpoint {name!r}; there are: {', '.join(there) or 'none yet'}"
        )
    return folder / name


def recover(folder: Path) -> None:
    """Clear up after a process that was killed; only for when nobody else writes there.

    Where the newest checkpoint of a kind is gone, the one before it takes its name again.
    """
    for kind in KINDS:
        place = folder / kind
        atomic.recover(place)
        older = older_ones(folder, kind)
        if older and not place.exists():
            older[0].rename(place)
    for leftover in folder.glob(".*"):
        atomic.remove(leftover)


def _aside(place: Path, step: int) -> Path | None:
    """Where the checkpoint goes that is replaced; nowhere if it is of the same step or damaged."""
    try:
        before = checkpoint_format.read_record(place).step
    except CheckpointError:
        return None
    if before == step:
        return None
    aside = place.with_name(older_name(place.name, before))
    atomic.remove(aside)  # of an earlier course, before it was resumed further back
    return aside
