"""The JSON Schema of a command's recipes, with which editors complete and check them."""

import json
from collections.abc import Sequence
from typing import Any

from itrec_dist.config import kinds, listing
from itrec_dist.config.parser import Parser
from itrec_dist.config.registry import Registry

SCHEMA = dict[str, Any]

_NO_SETTINGS: SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def recipe_schema(parsers: Sequence[Parser]) -> SCHEMA:
    """The schema of the recipes that any of these parsers takes.

    Nothing is required, since what a recipe leaves out can be an option. What depends on several
    settings together is checked by the command alone.
    """
    merged: SCHEMA = {}
    for parser in parsers:
        schema = _written(parser)
        for name, variants in listing.of_kinds(parser).items():
            by_kind = {
                kind: _written(one)["properties"].get(name, _NO_SETTINGS)
                for kind, one in variants.items()
            }
            schema["properties"][name] = _one_of_kinds(parser, name, by_kind)
        _merge(merged, schema)
    sections = sorted(n for n, s in merged["properties"].items() if "properties" in s)
    if sections:  # `model.width: 64` at the top level is a setting too
        merged["patternProperties"] = {rf"^({'|'.join(sections)})\.": {}}
    return merged


def _written(parser: Parser) -> SCHEMA:
    """The schema that jsonargparse makes, without what our recipes do not have."""
    return _plain(json.loads(parser.get_completion_script("jsonschema")))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain(inner) for name, inner in value.items()}
    if isinstance(plain.get("properties"), dict):
        plain["properties"].pop("$schema", None)
        plain.pop("required", None)
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(plain["description"].split())
    return plain


def _one_of_kinds(parser: Parser, name: str, by_kind: dict[str, SCHEMA]) -> SCHEMA:
    """A section whose `kind` decides which settings it has; the kind alone stands for all of it."""
    field = parser.sections[name]
    is_kind: list[SCHEMA] = [{"enum": [*by_kind]}]
    if isinstance(field.metadata[kinds.KINDS], Registry):
        is_kind.append({"type": "string", "pattern": ":"})  # module:Class
    if field.default is None:
        is_kind.append({"type": "null"})
    every = sorted({"kind", *(key for one in by_kind.values() for key in one["properties"])})
    told: SCHEMA = {"anyOf": is_kind, "description": kinds.listed(field)}
    if (default := kinds.default_kind(field)) is not None:
        told["default"] = default
    cases = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {**one, "properties": {"kind": {}, **one["properties"]}},
        }
        for kind, one in by_kind.items()
    ]
    without: SCHEMA = {"not": {"required": ["kind"]}}  # an option or a default says which
    cases.append({"if": without, "then": {"propertyNames": {"enum": every}}})
    section = {"type": "object", "properties": {"kind": told}, "allOf": cases}
    return {"anyOf": [*is_kind, section], "properties": {}}


def _merge(merged: SCHEMA, schema: SCHEMA) -> None:
    """Add the settings of another parser; one that both have differently may be either."""
    if not merged:
        merged |= schema
        return
    for name, new in schema["properties"].items():
        old = merged["properties"].setdefault(name, new)
        if old != new:
            known = old.get("anyOf", [old]) if set(old) == {"anyOf"} else [old]
            merged["properties"][name] = {"anyOf": [*known, new]}
    merged.setdefault("$defs", {}).update(schema.get("$defs", {}))
