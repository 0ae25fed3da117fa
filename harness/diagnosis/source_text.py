"""Python source text of values: literals and calls, wrapped to a line's width."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

#: Equal numbers in a row that are written as a product at least.
RUN = 4

#: Characters of a line.
WIDTH = 99


def literal(value: Any) -> str:
    """The source text of a value made of numbers, strings, lists, tuples, dictionaries and None.

    Raises:
        ValueError: the value has something else in it.
    """
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return f'float("{value}")'
    if isinstance(value, Mapping):
        inner = ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"expected a value with a literal, found {value!r}")
    text = repr(value)
    if isinstance(value, str):
        return text if '"' in text else f'"{text[1:-1]}"'
    return text


def call(function: str, arguments: Mapping[str, Any], first: Iterable[str] = ()) -> str:
    """The source text of a call with keyword arguments, wrapped.

    Args:
        function: its name.
        arguments: by keyword.
        first: source texts of positional arguments.

    Raises:
        ValueError: an argument has no literal.
    """
    words = {name: value for name, value in arguments.items() if name.isidentifier()}
    rest = {name: value for name, value in arguments.items() if name not in words}
    given = [*first, *(f"{name}={literal(value)}" for name, value in words.items())]
    if rest:
        given.append(f"**{literal(rest)}")
    return wrapped(f"{function}({', '.join(given)})")


def wrapped(statement: str, indent: str = "    ") -> str:
    """A statement of one line, broken behind commas within its brackets where it is too long.

    A statement whose strings hold commas is broken nowhere if that would change it.
    """
    if len(statement) <= WIDTH:
        return statement
    lines, line = [], ""
    for word in statement.split(", "):
        if line and len(line) + len(word) + 3 > WIDTH:
            lines.append(f"{line},")
            line = f"{indent}{word}"
        else:
            line = f"{line}, {word}" if line else word
    text = "\n".join([*lines, line])
    try:
        same = ast.dump(ast.parse(text)) == ast.dump(ast.parse(statement))
    except SyntaxError:  # broken within a string
        return statement
    return text if same else statement


def numbers(values: Any) -> str:
    """The source text of nested lists of numbers, with runs as `[0] * 4 + [1] * 12`."""
    if not isinstance(values, list):
        return literal(values)
    if values and isinstance(values[0], list):
        return f"[{', '.join(map(numbers, values))}]"
    plain = literal(values)
    words: list[str] = []
    rest: list[Any] = []
    for value, group in itertools.groupby(values):
        count = len([*group])
        if count < RUN:
            rest += [value] * count
            continue
        words += [literal(rest)] if rest else []
        words.append(f"[{literal(value)}] * {count}")
        rest = []
    short = " + ".join([*words, *([literal(rest)] if rest else [])])
    return short if len(short) < len(plain) else plain
