"""Declarations of the keys of a TOML table: kind, choices and meaning of each, as data.

`toml_file.py` checks tables by them, and `tools/schemas.py` writes them as a JSON Schema, by which
editors complete and check what people write.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

STRING = "a string"
STRINGS = "a list of strings"
INTEGER = "a whole number"
INTEGERS = "a list of whole numbers"
SIZES = "a list of whole numbers and names of fields"
NUMBER = "a number"
PATTERN = "a regular expression"
PATTERNS = "a list of regular expressions"
TABLE = "a table"
BOOLEAN = "true or false"
ANY = ""


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except (re.error, OverflowError, RecursionError):
        return False


def _all(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_HOLDS: Mapping[str, Callable[[object], bool]] = {
    STRING: _is_string,
    STRINGS: _all(_is_string),
    INTEGER: _is_integer,
    INTEGERS: _all(_is_integer),
    SIZES: _all(lambda value: _is_integer(value) or _is_string(value)),
    NUMBER: _is_number,
    PATTERN: _is_pattern,
    PATTERNS: _all(_is_pattern),
    TABLE: lambda value: isinstance(value, dict),
    BOOLEAN: lambda value: isinstance(value, bool),
    ANY: lambda value: True,
}


#: A value of each kind, as an error shows one.
EXAMPLES: Mapping[str, str] = {
    STRING: '"..."',
    STRINGS: '["..."]',
    INTEGER: "1",
    INTEGERS: "[1, 2]",
    SIZES: '[1, "hidden_size"]',
    NUMBER: "0.5",
    PATTERN: "'.*_size'",
    PATTERNS: "['.*_size']",
    TABLE: "{ ... }",
    BOOLEAN: "true",
    ANY: "...",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a TOML table.

    Attributes:
        about: its meaning, in one line.
        kind: of its value, in the words of error messages.
        choices: what its string, or each string of its list, is one of; empty: any.
        required: whether its table has to have it.
        keys: of its own table: by name, or one declaration for names that are free.
    """

    about: str = ""
    kind: str = STRING
    choices: Sequence[str] = ()
    required: bool = False
    keys: Mapping[str, Key] | Key | None = None

    def holds(self, value: object) -> bool:
        """Whether a value is of its kind."""
        return _HOLDS[self.kind](value)
