"""Config objects of transformers: their declared arguments, their fields, and building one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

Config = Any

_BASES = {"PretrainedConfig", "PreTrainedConfig", "PushToHubMixin"}


def is_config(value: Any) -> bool:
    """Whether a value is a config object."""
    return (
        hasattr(value, "model_type") and hasattr(value, "to_dict") and not isinstance(value, type)
    )


def all_fields(config: Config) -> Iterator[tuple[str, Any]]:
    """Names and values of a config's fields and of its sub-configs'."""
    for name, value in vars(config).items():
        if is_config(value):
            yield from all_fields(value)
        else:
            yield name, value


def field_of(config: Config, name: str) -> Any:
    """A field by its usual name or by the class's own (GPT-2's `n_head`); None without it."""
    own = getattr(type(config), "attribute_map", {}).get(name, name)
    return vars(config).get(own, vars(config).get(name))


def declared_defaults(cls: type) -> dict[str, Any]:
    """Arguments of the constructor with their defaults, for dataclass and older configs."""
    found: dict[str, Any] = {}
    if dataclasses.is_dataclass(cls):
        for item in dataclasses.fields(cls):
            if item.name.startswith("_"):
                continue
            if item.default is not dataclasses.MISSING:
                found[item.name] = item.default
            elif item.default_factory is not dataclasses.MISSING:
                found[item.name] = item.default_factory()
        return found
    for base in reversed(cls.__mro__[:-1]):
        if "__init__" not in vars(base) or base.__name__ in _BASES:
            continue
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found[name] = parameter.default
    return found


def construct(cls: type, arguments: Mapping[str, Any]) -> Config:
    """The config; older classes take their sub-configs as dictionaries only, or drop the others."""
    parts = {name: value.to_dict() for name, value in arguments.items() if is_config(value)}
    try:
        config = cls(**arguments)
    except (TypeError, AttributeError):
        if not parts:
            raise
    else:
        if parts.keys() <= vars(config).keys():
            return config
    return cls(**{**arguments, **parts})
