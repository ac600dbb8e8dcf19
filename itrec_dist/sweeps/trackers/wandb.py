"""Weights & Biases: one group per sweep, one W&B run per run; `place` is the project.

With WANDB_MODE=offline nothing leaves the machine, and `wandb sync SWEEP/wandb/*` uploads it later.
That variable and the login are read where runs train: on a cluster, on its nodes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import EnvironmentProblem

if TYPE_CHECKING:
    from itrec_dist.sweeps.trackers import Tracked

_STAYS = ("offline", "disabled")
_NO_KEY = "0" * 40
"""Ray's integration requires a key even where none is used."""


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


def prepare(place: str, sweep: str) -> None:  # noqa: ARG001 - groups need not be created
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


def begin(place: str, tracked: Tracked) -> WandB:
    """Start a W&B run, with its files in the sweep directory."""
    import wandb
    from ray.air.integrations.wandb import setup_wandb

    mode = os.environ.get("WANDB_MODE")  # passed on: wandb reads it only when it is imported
    run = setup_wandb(
        dict(tracked.settings), api_key=_NO_KEY if mode in _STAYS else None, project=place,
        group=tracked.sweep, trial_name=tracked.name, dir=str(tracked.run.path.parents[2]),
        mode=mode, settings=wandb.Settings(silent=True, console="off"),
    )  # fmt: skip
    return WandB(run)


class WandB:
    """A run of Weights & Biases."""

    def __init__(self, run: Any) -> None:
        """Wrap a started run."""
        self._run = run

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch; those of the best epoch, which come last, as a summary."""
        if any(name.startswith("best/") for name in figures):
            self._run.summary.update({**figures, "best/epoch": epoch})
        elif figures:
            self._run.log(figures, step=epoch)

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""
        self._run.finish(exit_code=0 if is_complete else 1)
