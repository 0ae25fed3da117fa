"""Exceptions to the rules, by model type or class name: the tables of `overrides.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        published: arguments at published widths, where the default lacks what every checkpoint has.
        reason: why no rule can say so.
    """

    set: Mapping[str, Any] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()
    replace: Mapping[str, Any] = field(default_factory=dict)
    subs: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
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


def override_of(cls: type, model: str = "") -> ConfigOverride:
    """The table of a config class or its model type; the model class's goes before it.

    Args:
        cls: the config class.
        model: the name of the model class that is built from it; empty for a part of a model.
    """
    table = overrides()
    found = table.get(cls.__name__) or table.get(getattr(cls, "model_type", "") or cls.__name__)
    found = found or ConfigOverride()
    head = table.get(model) if model else None
    if head is None:
        return found
    return replace(
        found,
        set={**found.set, **head.set},
        keep=found.keep | head.keep,
        published={**found.published, **head.published},
        reason=head.reason,
    )
