"""Typed configuration: YAML recipes and dotted overrides, as frozen dataclasses."""

from itrec_dist.config.kinds import KINDS
from itrec_dist.config.loading import load, pick
from itrec_dist.config.parser import Parser, valid
from itrec_dist.config.recipes import as_text
from itrec_dist.config.values import (
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
    "as_text",
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
