"""The checkpoints of a run: their names, how many are kept, and the cleanup after a kill.

    checkpoints/
      last             the newest one, with the training state
      last-00001200    older ones, by their step
      best             the best epoch so far
      best-00000400    earlier best epochs

A folder whose name starts with a dot is incomplete, and is never read. The content of a checkpoint
is described in runs/checkpoints/format.py.
"""

from collections.abc import Callable
from pathlib import Path

from itrec_dist.errors import CheckpointError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.directory import BEST, LAST
from itrec_dist.storage import atomic

KINDS = (BEST, LAST)


def put(folder: Path, kind: str, step: int, keep: int, fill: Callable[[Path], None]) -> None:
    """Write the newest checkpoint of a kind with `fill`, and delete the oldest ones.

    No older checkpoint is touched before the new one is complete.

    Args:
        folder: the checkpoints of the run.
        kind: BEST or LAST.
        step: the step of the new checkpoint.
        keep: how many of this kind to keep, the new one included.
        fill: writes a checkpoint into an empty folder and checks that it is complete.

    Raises:
        OutputError: it cannot be written, as on a full disk; the older ones are unchanged.
        CheckpointError: the new one is incomplete; the older ones are unchanged.
    """
    place = folder / kind
    aside = _aside(place, step) if keep > 1 else None
    with atomic.new_directory(
        place, marker=checkpoint_format.RECORD_FILE, overwrite=True, aside=aside
    ) as building:
        fill(building)
    older = [o for o in older_ones(folder, kind) if step_of(o) < step]
    for stale in set(older_ones(folder, kind)) - set(older[: keep - 1]):
        atomic.remove(stale)  # later steps are from before the run was resumed from an earlier one


def older_ones(folder: Path, kind: str) -> list[Path]:
    """The older checkpoints of a kind, newest first."""
    older = (p for p in folder.glob(f"{kind}-*") if p.name.removeprefix(f"{kind}-").isdigit())
    return sorted(older, key=step_of, reverse=True)


def step_of(place: Path) -> int:
    """The step in the name of an older checkpoint."""
    return int(place.name.rpartition("-")[2])


def older_name(kind: str, step: int) -> str:
    """The name of a checkpoint once a newer one has replaced it."""
    return f"{kind}-{step:08d}"


def find(folder: Path, name: str) -> Path:
    """The checkpoint of this name.

    Raises:
        CheckpointError: there is none; the message lists the existing ones.
    """
    there = [p.name for kind in KINDS for p in (folder / kind, *older_ones(folder, kind))
             if p.is_dir()]  # fmt: skip
    if name not in there:
        raise CheckpointError(
            f"{folder} holds no checkpoint {name!r}; there are: {', '.join(there) or 'none yet'}"
        )
    return folder / name


def finish_interrupted(folder: Path) -> None:
    """Clean up after a process that was killed; only call it while no other process writes.

    If the newest checkpoint of a kind is gone, the one before it takes its place.
    """
    for kind in KINDS:
        place = folder / kind
        atomic.finish_interrupted(place)
        older = older_ones(folder, kind)
        if older and not place.exists():
            older[0].rename(place)
    for leftover in folder.glob(".*"):
        atomic.remove(leftover)


def _aside(place: Path, step: int) -> Path | None:
    """The new name of the checkpoint to be replaced; None if it has the same step or is damaged."""
    try:
        before = checkpoint_format.read_record(place).step
    except CheckpointError:
        return None
    if before == step:
        return None
    aside = place.with_name(older_name(place.name, before))
    atomic.remove(aside)  # from before the run was resumed from an earlier step
    return aside
