"""The published studies that can be run whole: one file each, found by its name.

A file `some_name.py` here holds one `STUDY`. Nothing else has to be told about it.
"""

import importlib
import pkgutil

from itrec_dist.studies.study import Study

_SHARED = ("study", "runner")
_FORMER_NAMES = {"paper": "ite", "blog": "rating_prediction"}


def names() -> list[str]:
    """Every study, by name; former names are still taken."""
    files = [m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED]
    return sorted([*files, *_FORMER_NAMES])


def find(name: str) -> Study:
    """A study by its name."""
    assert name in names(), f"{name} is no study"
    file = _FORMER_NAMES.get(name, name)
    found: Study = importlib.import_module(f"{__name__}.{file}").STUDY
    return found
