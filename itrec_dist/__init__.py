"""Distributed training of sequential transformer recommenders, from raw events to a report.

    >>> import itrec_dist as itrec
    >>> data = itrec.split(itrec.read(frame, user="customer", item="sku"), protocol="leave_one_out")
    >>> run = itrec.train(data, itrec.models.SASRec(width=64), out="run", local=True)
    >>> run.recommend(frame, k=10)

Names are imported when they are first used, so that the import itself is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itrec_dist import errors, losses, models
    from itrec_dist.api.baselines import Comparison, baselines
    from itrec_dist.api.datasets import download, generate
    from itrec_dist.api.events import Events, read
    from itrec_dist.api.figures import Figures
    from itrec_dist.api.machine import Examination, doctor
    from itrec_dist.api.reporting import report
    from itrec_dist.api.reproducing import Reproduction, reproduce
    from itrec_dist.api.run import Run, load
    from itrec_dist.api.schemas import schema
    from itrec_dist.api.shards import Data, open, split
    from itrec_dist.api.sweeping import Best, Sweep, estimate, sweep
    from itrec_dist.api.training import resolve, train

__version__ = "0.1.0"

__all__ = [
    "Best",
    "Comparison",
    "Data",
    "Events",
    "Examination",
    "Figures",
    "Reproduction",
    "Run",
    "Sweep",
    "__version__",
    "baselines",
    "doctor",
    "download",
    "errors",
    "estimate",
    "generate",
    "load",
    "losses",
    "models",
    "open",
    "read",
    "report",
    "reproduce",
    "resolve",
    "schema",
    "split",
    "sweep",
    "train",
]

_MODULES = {
    "baselines": ("Comparison", "baselines"),
    "datasets": ("download", "generate"),
    "events": ("Events", "read"),
    "figures": ("Figures",),
    "machine": ("Examination", "doctor"),
    "reporting": ("report",),
    "reproducing": ("Reproduction", "reproduce"),
    "run": ("Run", "load"),
    "schemas": ("schema",),
    "shards": ("Data", "open", "split"),
    "sweeping": ("Best", "Sweep", "estimate", "sweep"),
    "training": ("resolve", "train"),
}
"""Module of `itrec_dist.api` -> its public names."""

_PLACES = {name: f"api.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
