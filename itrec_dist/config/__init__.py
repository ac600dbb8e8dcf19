"""Typed configuration: YAML recipes and dotted overrides onto frozen dataclasses."""

from itrec_dist.config.parser import Parser, load, pick, valid
from itrec_dist.config.values import (
    KINDS,
    as_yaml,
    field_names,
    flat,
    nested,
    to_dict,
    to_plain,
    to_yaml,
)

__all__ = [
    "KINDS",
    "Parser",
    "as_yaml",
    "field_names",
    "flat",
    "load",
    "nested",
    "pick",
    "to_dict",
    "to_plain",
    "to_yaml",
    "valid",
]
