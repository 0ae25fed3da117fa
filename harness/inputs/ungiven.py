"""Arguments of `forward` that no example has: those with a reason, and values to try.

The value of a flag or a number follows from annotation and default, the shape of a mask from what
the documentation says that it is applied to. Else it stands in `ungiven.toml`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, BOOLEAN, INTEGER, STRINGS, Key

#: The keys of a row of `ungiven.toml`.
KEYS: Mapping[str, Key] = {
    "reason": Key("Why no example has it, or why it is given this value.", required=True),
    "value": Key("To give; without one, the argument is given nowhere.", ANY),
    "mask_of": Key("Inputs, the first of which has a token for each element of the mask.", STRINGS),
    "neutral": Key("The value of the mask that changes nothing; 1, if left out.", INTEGER),
    "same": Key("Whether the outputs must stay as they are without the value.", BOOLEAN),
}

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
    """

    name: str
    value: Any
    about: str
    same: bool = False

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
    row = _row(architecture, name)
    return "" if {"value", "mask_of"} & row.keys() else row.get("reason", "")


def values(forward: Any, base: Arrays, known: Mapping[str, Any], model: str) -> Iterator[Ungiven]:
    """The arguments to try, each by itself, in the order of the signature.

    Args:
        forward: of a model.
        base: its plain inputs.
        known: arguments that are given with them.
        model: the model type.
    """
    for name, parameter in inspect.signature(forward).parameters.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if name in base or name in known or variable:
            continue
        row = _row(model, name)
        if "value" in row:
            value = row["value"]
            yield Ungiven(name, value, f"= {value!r}", row.get("same", False))
        elif "mask_of" in row or not row:
            held = row.get("mask_of") or _documented(forward, name)
            yield from _masks(name, base, held, row.get("neutral", 1))
            value = None if held else _other_value(parameter)
            if value is not None:
                yield Ungiven(name, value, f"= {value!r}")


def _row(model: str, name: str) -> Mapping[str, Any]:
    return rows().get(f"{model}:{name}") or rows().get(name, {})


def _documented(forward: Any, name: str) -> list[str]:
    """The argument that a mask is applied to, by the documentation of forward."""
    text = inspect.getdoc(forward) or ""
    entry = re.search(rf"^ *{name} ?\(.*?(?=^ *\w+:? ?\(|\Z)", text, re.MULTILINE | re.DOTALL)
    shaped = re.search(
        r"of shape `\(batch\w*, \w+\)` is applied to `(\w+)`", entry[0] if entry else ""
    )
    return [shaped[1]] if shaped and "mask" in name else []


def _masks(name: str, base: Arrays, held: list[str], neutral: int) -> Iterator[Ungiven]:
    """A mask that changes nothing, and one that hides the last token of the last row."""
    shape = next((base[n].shape[:2] for n in held if n in base and base[n].ndim > 1), None)
    if shape is None or shape[1] < 2:
        return
    mask: Array = np.full(shape, neutral, dtype=np.int64)
    yield Ungiven(name, mask, f"of {neutral} throughout", same=True)
    mask = mask.copy()
    mask[-1, -1] = 1 - neutral
    yield Ungiven(name, mask, f"of {neutral}, and {1 - neutral} at the end of a row")


def _other_value(parameter: inspect.Parameter) -> Any:
    """A value other than the default, of an argument whose annotation names a plain type alone."""
    default, annotation = parameter.default, parameter.annotation
    said = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = {kind.strip() for kind in re.sub(r"Optional\[(\w+)\]", r"\1", said).split("|")}
    match kinds - {"None"}:
        case found if found == {"bool"} and default in (None, True, False):
            return not default
        case found if found == {"int"} and default is None:
            return NUMBER
    return None
