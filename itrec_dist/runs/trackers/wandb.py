"""Weights & Biases: one group per group of runs, one W&B run per run; `place` is the project.

With WANDB_MODE=offline nothing leaves the machine, and `wandb sync FOLDER/wandb/*` uploads it
later; FOLDER is the sweep, or the folder that the run is in. That variable and the login are read
where runs train: on a cluster, on its nodes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.runs.directory import BEST, RunDirectory

if TYPE_CHECKING:
    from itrec_dist.runs.trackers import Tracked

_STAYS = ("offline", "disabled")


def check_installed() -> None:
    """Check that wandb is installed.

    Raises:
        EnvironmentProblem: it is not.
    """
    try:
        import wandb  # noqa: F401 - only to check that it is installed
    except ImportError as error:
        raise EnvironmentProblem(
            "trackers.wandb needs the package wandb, which is not installed: pip install "
            "'itrec-dist[wandb]', or leave trackers.wandb out"
        ) from error


def prepare(place: str, group: str, files: Path) -> None:  # noqa: ARG001 - groups come by themselves
    """Check that runs can log in.

    Raises:
        EnvironmentProblem: they cannot.
    """
    import wandb

    if os.environ.get("WANDB_MODE") in _STAYS:
        return
    try:
        is_known = wandb.login(prompt=False)
    except wandb.Error:
        is_known = False
    if not is_known:
        raise EnvironmentProblem(
            f"trackers.wandb={place} needs a login to Weights & Biases: run `wandb login`, set "
            "WANDB_API_KEY, or set WANDB_MODE=offline to keep everything on this machine"
        )


def begin(place: str, tracked: Tracked, known: str | None) -> WandB:
    """Start a W&B run, with its files beside the runs, or continue the one that is `known`."""
    import wandb

    tracked.files.mkdir(parents=True, exist_ok=True)
    # Passed on: wandb reads it only when it is imported.
    mode: Any = os.environ.get("WANDB_MODE")
    run = wandb.init(
        project=place, group=tracked.group, name=tracked.name, config=dict(tracked.settings),
        id=known, resume=None if known is None else "allow", reinit="create_new",
        mode=mode,
        dir=str(tracked.files), settings=wandb.Settings(silent=True, console="off"),
    )  # fmt: skip
    return WandB(run, tracked.name)


class WandB:
    """A run of Weights & Biases."""

    def __init__(self, run: Any, name: str) -> None:
        """Wrap a started run."""
        self._run, self._name, self.id = run, name, str(run.id)

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch; those of the best epoch, which come last, as a summary."""
        if any(name.startswith("best/") for name in figures):
            self._run.summary.update({**figures, "best/epoch": epoch})
        elif figures:
            self._run.log(figures, step=epoch)

    def keep(self, run: RunDirectory) -> None:
        """Store the folder of the best checkpoint as an artifact."""
        name = re.sub(r"[^\w.-]", "-", self._name)
        self._run.log_artifact(str(run.checkpoints / BEST), name=name, type="model")

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""
        self._run.finish(exit_code=0 if is_complete else 1)
