"""Frames: messages as JSON text, read by a declared schema; nothing in them is ever executed.

A child runs a stranger's code, so that its messages are data to check, not objects to unpickle. The
schema of a message is its dataclass in `harness.workers.messages`: every field is there, and has
the type of its annotation. JSON's numbers include `NaN` and `Infinity` here, as Python writes them.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from harness.cell.conformance.finding import PointFinding
from harness.cell.request import DeviceReport
from harness.contract import CellResult, Culprit
from harness.toolkit.printable import storable
from harness.workers.messages import Entering, Message, Raised, Ready, Returned, Usage

#: The messages, by the name that stands first in a frame.
MESSAGES: Mapping[str, type] = {kind.__name__: kind for kind in (Ready, Entering, Returned, Raised)}

#: The dataclasses that a task may return, by name. Anything else that it returns is plain data.
VALUES: Mapping[str, type] = {
    kind.__name__: kind for kind in (CellResult, Culprit, DeviceReport, PointFinding)
}

#: The name of a returned value that is plain data.
PLAIN = ""

#: The least and the greatest integer: 64 bits, as a BIGINT of the results file has.
INTEGERS = (-(2**63), 2**63 - 1)

#: Characters of a value that an error shows.
SHOWN = 60


class FrameError(Exception):
    """A frame that does not fit the schema; the message says expected and found."""


def encode(message: Any) -> bytes:
    """The frame of a message, in ASCII, without a line break.

    Args:
        message: a dataclass of `MESSAGES`, or of another table of messages.

    Raises:
        FrameError: it holds something else than numbers, text, lists and mappings of them.
    """
    kind: type = type(message)
    plain = _plain(message, _schemas(kind))
    return json.dumps([type(message).__name__, plain]).encode("ascii")


def decode(frame: bytes) -> Message:
    """The message of a child in a frame.

    Raises:
        FrameError: the frame is no JSON, or does not fit the schema.
    """
    message: Message = decode_one_of(frame, MESSAGES)
    return message


def decode_one_of(frame: bytes, messages: Mapping[str, type]) -> Any:
    """The message in a frame, of a table of messages by their names.

    Raises:
        FrameError: the frame is no JSON, or does not fit the schema.
    """
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"expected JSON, found {_shown(frame)} ({error})") from error
    name, value = _named(found, messages, "message")
    return _read(messages[name], value, name)


# --- Writing --------------------------------------------------------------------------------------


def _plain(value: Any, schemas: frozenset[type]) -> Any:
    """A value as the types of JSON; dataclasses are those of the schemas."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Returned):
        name = type(value.value).__name__ if type(value.value) in VALUES.values() else PLAIN
        returned = [name, _plain(value.value, schemas)]
        return {"value": returned, "usage": _plain(value.usage, schemas)}
    if type(value) in schemas:
        return {field.name: _plain(getattr(value, field.name), schemas) for field in fields(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(item, schemas) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, schemas) for item in value]
    kind = type(value)
    raise FrameError(
        f"expected numbers, text, lists and mappings by text in what a process returns, "
        f"found {kind.__module__}.{kind.__qualname__}"
    )


@cache
def _schemas(message: type) -> frozenset[type]:
    """Every dataclass that a message may hold."""
    found: set[type] = set()
    waiting: list[Any] = [message, *VALUES.values()]
    while waiting:
        kind = waiting.pop()
        waiting += typing.get_args(kind)
        if is_dataclass(kind) and isinstance(kind, type) and kind not in found:
            found.add(kind)
            waiting += _hints(kind).values()
    return frozenset(found)


# --- Reading --------------------------------------------------------------------------------------


def _read(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as the type that its place in the schema has.

    Args:
        kind: the type, or its annotation: `float | None`, `list[Metric]`, ...
        value: what was found.
        where: its place, as `CellResult.metrics[3].value`.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _read(kind, value, where)
    if kind is Any:
        return _storable(value, where)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list):
            raise _misfit(where, "a list", value)
        items = (_read(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value))
        return tuple(items) if origin is tuple else list(items)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _misfit(where, "a mapping", value)
        return {
            storable(key): _read(arguments[1], item, f"{where}[{storable(key)!r}]")
            for key, item in value.items()
        }
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if issubclass(kind, enum.Enum):
        allowed = [member.value for member in kind]
        if not isinstance(value, str) or value not in allowed:
            raise _misfit(where, f"one of {', '.join(allowed)}", value)
        return kind(value)
    return _read_scalar(kind, value, where)


def _read_scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(_integer(value, where))
    if type(value) is not kind:
        words = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
        raise _misfit(where, words[kind], value)
    return _storable(value, where)


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The annotations of a dataclass by field; `typing` evaluates them anew at each call."""
    return typing.get_type_hints(kind)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or set(value) != set(hints):
        raise _misfit(where, f"the fields {', '.join(hints)}", value)
    if kind is Returned:
        name, returned = _named(value["value"], {PLAIN: object, **VALUES}, "value")
        usage = _read(Usage, value["usage"], f"{where}.usage")
        return Returned(_read(VALUES.get(name, Any), returned, name or "value"), usage)
    return kind(**{n: _read(hint, value[n], f"{where}.{n}") for n, hint in hints.items()})


def _named(value: Any, kinds: Mapping[str, type], what: str) -> tuple[str, Any]:
    """The name of a type and the value of that type, from a list of both."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        raise _misfit(what, "a list of a name and a value", value)
    if value[0] not in kinds:
        raise _misfit(what, f"one of {', '.join(filter(None, kinds))}", value[0])
    return value[0], value[1]


def _storable(value: Any, where: str) -> Any:
    """Plain data, its text storable and its integers within 64 bits."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item, where) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable(item, where) for key, item in value.items()}
    return _integer(value, where) if type(value) is int else value


def _integer(value: int, where: str) -> int:
    if not INTEGERS[0] <= value <= INTEGERS[1]:
        raise _misfit(where, "an integer of 64 bits", value)
    return value


def _misfit(where: str, expected: str, value: Any) -> FrameError:
    return FrameError(f"{where}: expected {expected}, found {_shown(value)}")


def _shown(value: Any) -> str:
    """A value in an error, cut."""
    if value is None:
        return "null"
    text = storable(repr(value)) if not isinstance(value, int) or abs(value) < 10**SHOWN else "more"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
