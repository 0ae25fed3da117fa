"""Methods that stand in for a model's `forward`: the tables of `forward_methods.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path


@cache
def forward_methods() -> Mapping[str, str]:
    """By model type the attribute that is called, as `detector_model.forward` of SAM 3's video."""
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: table["call"] for name, table in tables.items()}


def with_forward(cls: type, method: str) -> type:
    """A subclass of the same name whose `forward` is another attribute of the model."""
    forward = property(attrgetter(method))
    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
