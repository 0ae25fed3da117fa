"""Rows of known answers: the question of each task, and what counts as right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import INTEGER, STRINGS, Key

_KEYS = {
    "text": Key("The text that is read; {mask} is the tokenizer's own mask."),
    "expected": Key("The words of which one is right, or those of a recording in order.", STRINGS),
    "among": Key("How many of the likeliest words count.", INTEGER),
    "nearer": Key("A sentence that means about the same."),
    "farther": Key("A sentence that means something else."),
    "sound": Key("A recording beside the table."),
    "least": Key("How many of the expected words must be heard.", INTEGER),
}


@dataclass(frozen=True, slots=True)
class Row:
    """The question of one task; `rows.toml` says what each field means."""

    text: str = ""
    expected: tuple[str, ...] = ()
    among: int = 1
    nearer: str = ""
    farther: str = ""
    sound: str = ""
    least: int = 0


@cache
def rows() -> Mapping[str, Row]:
    """The row of each task, by name."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    found = {}
    for task, table in source.tables.items():
        source.check_table(task, table, _KEYS)
        found[task] = Row(**{**table, "expected": tuple(table.get("expected", ()))})
    return found
