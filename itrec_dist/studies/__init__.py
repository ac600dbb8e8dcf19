"""The published studies that can be reproduced: one file each, found by its name.

A file `some_name.py` here defines one `STUDY`; no other file needs to change.
"""

import importlib
import pkgutil

from itrec_dist.studies.study import Study

_SHARED = ("study", "runner")
_FORMER_NAMES = {"paper": "ite", "blog": "rating_prediction"}


def names() -> list[str]:
    """The names of all studies, former names included."""
    files = [m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED]
    return sorted([*files, *_FORMER_NAMES])


def find(name: str) -> Study:
    """A study by its name."""
    assert name in names(), f"{name} is not a study"
    file = _FORMER_NAMES.get(name, name)
    study: Study = importlib.import_module(f"{__name__}.{file}").STUDY
    return study
