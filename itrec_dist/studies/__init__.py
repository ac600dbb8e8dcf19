"""The published studies that can be run whole: one file each, found by its name.

A file `some_name.py` here holds one `STUDY`. Nothing else has to be told about it.
"""

import importlib
import pkgutil

from itrec_dist.studies.study import Study

_SHARED = "study"


def names() -> list[str]:
    """Every study, by name."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != _SHARED)


def find(name: str) -> Study:
    """A study by its name."""
    assert name in names(), f"{name} is no study"
    found: Study = importlib.import_module(f"{__name__}.{name}").STUDY
    return found
