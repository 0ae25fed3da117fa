"""Writes TOML that people review: fixed key order, short lines, and nothing else in the file moved.

The standard library reads TOML and does not write it. What is written here is small: tables of
strings, numbers, booleans, lists and tables, as the model lists and the expectations hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: A value that is longer than this on one line is written as a sub-table or a list of lines.
WIDTH = 100

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = re.compile(r"\[([^\[\].]+)\]\s*(?:#.*)?")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def key(name: str) -> str:
    """`name` as a TOML key: bare where TOML allows it, else quoted."""
    return name if _BARE.fullmatch(name) else value(name)


def value(item: object) -> str:
    """`item` as a TOML value on one line.

    Raises:
        TypeError: TOML has no way to write it (`None`, for one).
    """
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        return '"' + "".join(_escape(char) for char in item) + '"'
    if isinstance(item, int):
        return str(item)
    if isinstance(item, float):
        return repr(item)  # repr keeps every digit; 1e-05, inf and nan are TOML as they stand
    if isinstance(item, Mapping):
        inner = ", ".join(f"{key(name)} = {value(part)}" for name, part in item.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(item, Iterable):
        return "[" + ", ".join(value(part) for part in item) + "]"
    raise TypeError(f"expected a TOML value, found {item!r} ({type(item).__name__})")


def table(name: str, items: Mapping[str, Any], comment: str = "") -> str:
    """`[name]` and its items, in their order, ending in a newline.

    A table or list that does not fit a line becomes a sub-table at the end, or a list of lines.

    Args:
        name: the table's name; dots nest.
        items: what the table holds.
        comment: a line that is set above the table, without its `# `.
    """
    lines, subtables = [], []
    for item_name, item in items.items():
        line = f"{key(item_name)} = {value(item)}"
        if len(line) <= WIDTH or isinstance(item, str):
            lines.append(line)
        elif isinstance(item, Mapping):
            subtables.append(table(f"{name}.{key(item_name)}", item))
        else:
            lines += list_lines(item_name, item)
    if lines or not subtables:  # a header of its own only where something stands below it
        lines = [f"[{name}]", *lines]
    parts = ["".join(line + "\n" for line in lines), *subtables]
    text = "\n".join(part for part in parts if part)
    return f"# {comment}\n{text}" if comment else text


def list_lines(name: str, items: Iterable[object]) -> list[str]:
    """A list over several lines, each filled up to the width."""
    lines, current = [f"{key(name)} = ["], "   "
    for item in items:
        piece = f" {value(item)},"
        if len(current) + len(piece) > WIDTH and current.strip():
            lines.append(current)
            current = "   "
        current += piece
    return [*lines, current, "]"] if current.strip() else [*lines, "]"]


def insert_tables(text: str, tables: Mapping[str, str]) -> str:
    """`text` with each new table set where the order of names puts it.

    Every line that was there stays as it was, comments and blank lines included; a comment that
    stands right above a table stays with it.

    Args:
        text: a TOML file whose tables are sorted by name.
        tables: table name -> the table's text, ending in a newline.
    """
    lines = text.splitlines(keepends=True)
    for name in sorted(tables):
        block = tables[name]
        at = _place(lines, name)
        if at == len(lines):
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            before = ["\n"] if lines and lines[-1].strip() else []
            lines += [*before, *block.splitlines(keepends=True)]
        else:
            lines[at:at] = [*block.splitlines(keepends=True), "\n"]
    return "".join(lines)


def _place(lines: list[str], name: str) -> int:
    """The line index before which the table `name` belongs."""
    for index, line in enumerate(lines):
        header = _HEADER.fullmatch(line.strip())
        if header and header.group(1).strip('"') > name:
            while index and lines[index - 1].startswith("#"):
                index -= 1
            return index
    return len(lines)


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
