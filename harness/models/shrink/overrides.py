"""Exceptions to the rules, by model type or class name: the tables of `overrides.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile

TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class ConfigOverride:
    """One table of `overrides.toml`.

    Attributes:
        set: arguments of the config class, by name.
        keep: fields that stay as declared.
        replace: arguments of another sub-config in this one's place, and its `model_type`.
        subs: model types of sub-configs that the default config lacks, by field.
        reason: why no rule can say so.
    """

    set: Mapping[str, Any] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()
    replace: Mapping[str, Any] = field(default_factory=dict)
    subs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@cache
def overrides() -> Mapping[str, ConfigOverride]:
    """The tables of `overrides.toml`, by model type or the name of a config or model class."""
    source = TomlFile(TABLE)
    source.check_tables(keys_of(ConfigOverride))
    return {
        name: ConfigOverride(**{**table, "keep": frozenset(table.get("keep", ()))})
        for name, table in source.tables.items()
    }
