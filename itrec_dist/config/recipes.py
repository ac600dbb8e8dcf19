"""Recipes: YAML files of settings, read once and passed on as options of a command line."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from itrec_dist.errors import ConfigError


@dataclass
class Recipe:
    """A recipe's settings, as YAML holds them."""

    path: str
    content: dict[str, Any]


def read(path: str) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigError: it cannot be read, is not YAML, or holds no settings.
    """
    try:
        content = get_loader("yaml")(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the recipe {path} is not UTF-8 text: save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"the recipe {path} is not YAML: line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the recipe {path} is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"the recipe {path} must hold settings, one `name: value` a line, "
            f"not {'nothing' if content is None else _shortened(repr(content))}"
        )
    return Recipe(path, {str(name): value for name, value in content.items()})


def as_text(value: Any) -> str:
    """A value as written on a command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False, default=str)


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
