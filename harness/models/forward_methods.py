"""Methods that stand in for a model's `forward`: the tables of `forward_methods.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import Key

#: The keys of a table.
KEYS: Mapping[str, Key] = {
    "call": Key("The attribute of the model that is called.", required=True),
    "reason": Key("Why, and what is left out.", required=True),
}


@cache
def forward_methods() -> Mapping[str, str]:
    """By model type the attribute that is called, as `detector_model.forward` of SAM 3's video."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_tables(KEYS)
    return {name: table["call"] for name, table in source.tables.items()}


def with_forward(cls: type, method: str) -> type:
    """A subclass of the same name whose `forward` is another attribute of the model."""
    forward = property(attrgetter(method))
    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
