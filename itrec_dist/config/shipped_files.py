"""Locates the files that are not Python: SQL and recipes.

In a checkout they are in the top-level folders `sql/` and `jobs/recipes/`; an installed wheel has
them inside the package, under the same names.
"""

from pathlib import Path

from itrec_dist.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]


def sql_folder() -> Path:
    """The folder that holds `staging/`, `shared/`, `next_items/`, `ratings/` and `checks/`."""
    return _find("sql")


def recipes_folder() -> Path:
    """The folder that holds the shipped recipes."""
    return _find("jobs/recipes")


def recipe(name: str) -> Path:
    """The path of a shipped recipe, by its name without `.yaml`.

    Raises:
        ConfigError: there is no such recipe; the message lists the available ones.
    """
    path = recipes_folder() / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in recipes_folder().glob("*.yaml")))
        raise ConfigError(f"there is no recipe named {name!r}; there are: {names}")
    return path


def _find(relative: str) -> Path:
    for root in (_PACKAGE / "_files", _PACKAGE.parent):
        if (root / relative).is_dir():
            return root / relative
    raise AssertionError(f"the installation lacks {relative}")
