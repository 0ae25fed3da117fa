"""Workload of an inference: how many tokens, images or seconds of sound its inputs hold.

Which argument holds which unit is data: `workload.toml`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.contract import Array
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import INTEGER, NUMBER, STRINGS, Key

#: The keys of a table of `workload.toml`.
KEYS: Mapping[str, Key] = {
    "unit": Key("Unit of the items that are counted.", required=True),
    "instead_of": Key("An argument that is not counted beside this one."),
    "inner": Key("Last axes that belong to one item.", INTEGER, required=True),
    "per_second": Key("Items in one second of sound.", NUMBER),
    "bins": Key("Config fields with the length of an axis that is no time.", STRINGS),
}


@cache
def meanings() -> Mapping[str, Mapping[str, Any]]:
    """The tables of `workload.toml`, by argument."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    for name, table in source.tables.items():
        source.check_table(name, table, KEYS)
    return source.tables


def workload(inputs: Mapping[str, Array], config: Any) -> dict[str, float]:
    """Items of one inference by unit, as in `{"tokens": 32.0}`.

    An argument whose items cannot be told is left out: pixels cut into patches have no image's
    shape. Items of two arguments with one unit add up, as tokens of an encoder and of its decoder.

    Args:
        inputs: arrays by argument of forward.
        config: of the model; its fields say which axis of a spectrum has the mel bins.
    """
    found: dict[str, float] = {}
    left_out = {meanings()[name].get("instead_of") for name in inputs if name in meanings()}
    for name, array in inputs.items():
        meaning = meanings().get(name)
        if meaning is None or name in left_out or array.ndim < max(1, meaning["inner"] + 1):
            continue
        items = math.prod(array.shape[: array.ndim - meaning["inner"]])
        if "bins" in meaning:
            lengths = {getattr(config, field, None) for field in meaning["bins"]}
            bins = [size for size in array.shape[1:] if size in lengths]
            if not bins:
                continue
            items //= bins[0]
        unit = meaning["unit"]
        found[unit] = found.get(unit, 0.0) + items / meaning.get("per_second", 1)
    return found
