"""JSON Schema of a TOML table whose reader makes a dataclass of it, key by key."""

from __future__ import annotations

import builtins
import dataclasses
import re
import types
import typing
from collections import abc
from collections.abc import Sequence
from typing import Any

#: A line of a docstring's section `Attributes`: name and meaning.
_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.+)$", re.MULTILINE)


def table(made: type, without: Sequence[str] = ()) -> dict[str, Any]:
    """The schema of a table whose keys are the fields of a dataclass.

    Args:
        made: the dataclass; the section `Attributes` of its docstring says what a field means.
        without: fields that are no keys, such as the table's own name.
    """
    hints = typing.get_type_hints(made)
    meanings = dict(_ATTRIBUTE.findall(made.__doc__ or ""))
    fields = [field for field in dataclasses.fields(made) if field.name not in without]
    properties = {}
    for field in fields:
        meaning = {"description": meanings[field.name]} if field.name in meanings else {}
        properties[field.name] = meaning | typed(hints[field.name])
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    no_default = dataclasses.MISSING
    required = [f.name for f in fields if f.default is f.default_factory is no_default]
    return {**schema, "required": required} if required else schema


def typed(hint: Any) -> dict[str, Any]:
    """The schema of a TOML value that a field of this type is made from."""
    plain = {str: "string", bool: "boolean", int: "integer", float: "number"}
    if hint in plain:
        return {"type": plain[hint]}
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    match typing.get_origin(hint):
        case types.UnionType:
            return typed(arguments[0])
        case builtins.tuple | builtins.frozenset:
            return {"type": "array", "items": typed(arguments[0])}
        case abc.Mapping:
            return {"type": "object", "additionalProperties": typed(arguments[1])}
    return {}
