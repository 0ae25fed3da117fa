"""Declarations of a TOML table's keys, from the dataclass that its reader makes of it."""

from __future__ import annotations

import builtins
import dataclasses
import re
import types
import typing
from collections import abc
from collections.abc import Mapping, Sequence
from typing import Any

from harness.toolkit.toml_keys import (
    ANY,
    BOOLEAN,
    INTEGER,
    INTEGERS,
    NUMBER,
    PATTERN,
    SIZES,
    STRING,
    STRINGS,
    TABLE,
    Key,
)

#: A line of a docstring's section `Attributes`: name and meaning.
_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.+)$", re.MULTILINE)
_KINDS: Mapping[Any, str] = {
    str: STRING,
    bool: BOOLEAN,
    int: INTEGER,
    float: NUMBER,
    re.Pattern[str]: PATTERN,
    tuple[int | str, ...]: SIZES,
}
_LISTS: Mapping[str, str] = {STRING: STRINGS, INTEGER: INTEGERS}


def keys_of(made: type, without: Sequence[str] = ()) -> Mapping[str, Key]:
    """The keys of a table, one for each field of a dataclass.

    Args:
        made: the dataclass; the section `Attributes` of its docstring says what a field means.
        without: fields that are no keys, such as the table's own name.
    """
    hints = typing.get_type_hints(made)
    meanings = dict(_ATTRIBUTE.findall(made.__doc__ or ""))
    missing = dataclasses.MISSING
    return {
        field.name: dataclasses.replace(
            typed(hints[field.name]),
            about=meanings.get(field.name, ""),
            required=field.default is field.default_factory is missing,
        )
        for field in dataclasses.fields(made)
        if field.name not in without
    }


def typed(hint: Any) -> Key:
    """The declaration of a TOML value that a field of this type is made from."""
    if hint in _KINDS:
        return Key(kind=_KINDS[hint])
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    match typing.get_origin(hint):
        case types.UnionType:
            return typed(arguments[0])
        case builtins.tuple | builtins.frozenset:
            return Key(kind=_LISTS[typed(arguments[0]).kind])
        case abc.Mapping:
            inner = typed(arguments[1])
            return Key(kind=TABLE, keys=None if inner.kind == ANY else inner)
    return Key(kind=ANY)
