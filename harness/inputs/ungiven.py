"""Arguments of `forward` that no example has: those with a reason, and values to try.

The value of a flag or a number follows from annotation and default, the shape of a mask from what
the documentation says that it is applied to. Else it stands in `ungiven.toml`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.inputs.wanted import MASKS
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, BOOLEAN, INTEGER, STRINGS, Key

#: The keys of a row of `ungiven.toml`.
KEYS: Mapping[str, Key] = {
    "reason": Key("Why no example has it, or why it is given this value.", required=True),
    "value": Key("To give; without one, the argument is given nowhere.", ANY),
    "mask_of": Key("Inputs or outputs, of which the first that there is has the mask.", STRINGS),
    "beside": Key("Plain inputs without which there is no such mask.", STRINGS),
    "axes": Key("How many of its first axes the mask has; 2, if left out.", INTEGER),
    "neutral": Key("The value of the mask that changes nothing; 1, if left out.", INTEGER),
    "idle": Key("Whether a mask may change nothing, whatever it hides.", BOOLEAN),
    "without": Key("Plain inputs that are left out with the value.", STRINGS),
    "same": Key("Whether the outputs must stay as they are without the value.", BOOLEAN),
}

#: Masks that variants of the inputs have.
VARIED = frozenset(name for masks in MASKS.values() for name in masks)

#: A whole number where None is the default: it fits most counts, and differs from one.
NUMBER = 2


@dataclass(frozen=True, slots=True, eq=False)
class Ungiven:
    """An argument of forward with a value that no example gives it.

    Attributes:
        name: of the argument.
        value: a flag, a number, a word or a mask.
        about: the value in words.
        same: whether the outputs must stay as they are without it.
        moves: whether some output must differ.
        without: plain inputs that do not go with it.
    """

    name: str
    value: Any
    about: str
    same: bool = False
    moves: bool = False
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.about}"


@cache
def rows() -> Mapping[str, Mapping[str, Any]]:
    """The tables of `ungiven.toml`, which says what their keys mean."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_tables(KEYS)
    return source.tables


def reason(architecture: str, name: str) -> str:
    """Why an argument of forward is given nowhere; empty where no row says so."""
    row = _row((architecture,), name)
    return "" if {"value", "mask_of"} & row.keys() else row.get("reason", "")


def values(
    forward: Any, base: Arrays, outputs: Arrays, known: Mapping[str, Any], *models: str
) -> Iterator[Ungiven]:
    """The arguments to try, each by itself.

    Args:
        forward: of a model.
        base: its plain inputs.
        outputs: of the reference on them; without them, masks of outputs are left out.
        known: arguments that are given with the inputs.
        models: names that rows may have: the model's class, then the model type.
    """
    for name, parameter in inspect.signature(forward).parameters.items():
        if name in known or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name not in base:
            row = _row(models, name)
            beside = all(n in base for n in row.get("beside", ()))
            held = _documented(forward, name) or (row.get("mask_of", ()) if beside else ())
            yield from _values(parameter, {**row, "mask_of": held}, {**outputs, **base})
        elif name not in VARIED and not _row(models, name):
            yield from _turned(name, base[name])


def _values(
    parameter: inspect.Parameter, row: Mapping[str, Any], there: Arrays
) -> Iterator[Ungiven]:
    """The values of an argument that the plain inputs lack.

    Args:
        parameter: the argument.
        row: of `ungiven.toml`, with what the documentation says.
        there: inputs and outputs.
    """
    name, without = parameter.name, tuple(row.get("without", ()))
    held = next((there[n] for n in row["mask_of"] if n in there), None)
    if "value" in row:
        value = row["value"]
        yield Ungiven(name, value, f"= {value!r}", row.get("same", False), without=without)
    elif held is not None:
        dtype = np.bool_ if "Bool" in _annotation(parameter) else np.int64
        neutral: Array = np.full(held.shape[: row.get("axes", 2)], row.get("neutral", 1), dtype)
        yield Ungiven(name, neutral, "that changes nothing", same=True, without=without)
        yield from _turned(name, neutral, without, idle=row.get("idle", False))
    elif "reason" not in row:
        value = _other_value(parameter)
        if value is not None:
            yield Ungiven(name, value, f"= {value!r}")


def _turned(
    name: str, mask: Array, without: tuple[str, ...] = (), *, idle: bool = False
) -> Iterator[Ungiven]:
    """A mask that is the same throughout, with another value at the end of its last row."""
    if "mask" not in name or mask.ndim < 2 or mask.shape[0] == 0 or mask.shape[1] < 2:
        return
    first = mask.flat[0]
    if first in (0, 1) and (mask == first).all():
        turned = mask.copy()
        turned[-1, -1] = 1 - int(first)
        yield Ungiven(name, turned, "with its end turned", moves=not idle, without=without)


def _row(models: Sequence[str], name: str) -> Mapping[str, Any]:
    known = rows()
    own = (known[f"{model}:{name}"] for model in models if f"{model}:{name}" in known)
    return next(own, known.get(name, {}))


def _documented(forward: Any, name: str) -> list[str]:
    """The argument that a mask is applied to, by the documentation of forward."""
    text = inspect.getdoc(forward) or ""
    entry = re.search(rf"^ *{name} ?\(.*?(?=^ *\w+:? ?\(|\Z)", text, re.MULTILINE | re.DOTALL)
    shaped = re.search(
        r"of shape `\(batch\w*, \w+\)` is applied to `(\w+)`", entry[0] if entry else ""
    )
    return [shaped[1]] if shaped and "mask" in name else []


def _annotation(parameter: inspect.Parameter) -> str:
    found = parameter.annotation
    return found if isinstance(found, str) else inspect.formatannotation(found)


def _other_value(parameter: inspect.Parameter) -> Any:
    """A value other than the default, of an argument whose annotation names a plain type alone."""
    default = parameter.default
    said = re.sub(r"Optional\[(\w+)\]", r"\1", _annotation(parameter))
    kinds = {kind.strip() for kind in said.split("|")}
    match kinds - {"None"}:
        case found if found == {"bool"} and default in (None, True, False):
            return not default
        case found if found == {"int"} and default is None:
            return NUMBER
    return None
