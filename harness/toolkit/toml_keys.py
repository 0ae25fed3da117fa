"""Declarations of the keys of a TOML table: kind, choices and meaning of each, as data.

A reader checks its table by them, and `tools/schemas.py` writes them as a JSON Schema, by which
editors complete and check what people write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STRING = "a string"
STRINGS = "a list of strings"
TABLE = "a table"
BOOLEAN = "true or false"
ANY = ""

_TYPES: Mapping[str, type] = {STRING: str, TABLE: dict, BOOLEAN: bool, ANY: object}


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

    about: str
    kind: str = STRING
    choices: Sequence[str] = ()
    required: bool = False
    keys: Mapping[str, Key] | Key | None = None

    def holds(self, value: object) -> bool:
        """Whether a value is of its kind."""
        if self.kind == STRINGS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        return isinstance(value, _TYPES[self.kind])
