"""Fields of config classes: one that an entry sets, and that its config class lacks, is refused.

Config classes of transformers take any keyword and keep it as an attribute that no model reads, so
that a misspelt field would test another model in silence. `config_fields.toml` lists the fields
that a class does read and does not declare.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.contract import HarnessError
from harness.models.config_classes import config_class, parts_of
from harness.models.shrink.configs import declared_defaults, is_config
from harness.toolkit.close_matches import did_you_mean, misspelt
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, Key

TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class UndeclaredFields:
    """One `[[undeclared]]` of `config_fields.toml`: fields that are taken and not declared.

    Attributes:
        fields: their names, as `rope_theta`.
        reason: where they are read.
        beside: the field that a class declares where it takes them, as `rope_parameters`.
        classes: the config classes that take them, as `Qwen3MoeConfig`.
    """

    fields: tuple[str, ...]
    reason: str
    beside: str = ""
    classes: tuple[str, ...] = ()

    def are_read_by(self, cls: type, declared: Collection[str]) -> bool:
        """Whether a config class, which declares these fields, takes them."""
        return self.beside in declared or cls.__name__ in self.classes


@cache
def undeclared() -> tuple[UndeclaredFields, ...]:
    """The rows of `config_fields.toml`."""
    source = TomlFile(TABLE)
    source.check_top({"undeclared": Key("The fields.", ANY)})
    rows = source.check_rows("undeclared", keys_of(UndeclaredFields))
    return tuple(
        UndeclaredFields(
            tuple(row["fields"]),
            row["reason"],
            row.get("beside", ""),
            tuple(row.get("classes", ())),
        )
        for row in rows
    )


def check(cls: type, given: Mapping[str, Any], where: str = "") -> None:
    """Refuse fields that a config class, or the class of its part, does not have.

    Args:
        cls: the config class.
        given: what an entry's `config` says.
        where: the part that `given` is of, as `text_config`; empty for the whole.

    Raises:
        HarnessError: a field does not exist; has the closest ones that do.
    """
    plain = _default(cls)
    known = accepted(cls, plain)
    for name, value in given.items():
        path = f"{where}.{name}" if where else name
        if name not in known:
            raise unknown_field(cls.__name__, path, name, known)
        part = _part(cls, plain, name, value)
        if part is None and isinstance(value, Mapping):
            _check_keys(cls.__name__, path, value, getattr(plain, name, None))
        if part is not None:
            check(part, {key: v for key, v in value.items() if key != "model_type"}, path)


def _check_keys(owner: str, path: str, given: Mapping[str, Any], plain: Any) -> None:
    """Refuse keys that are misspelt, in a field that holds a mapping, as `rope_parameters`.

    Modeling code reads other keys than its defaults have, so that only one that is almost a known
    one is refused: those of the default, and of every mapping of rotary positions.

    Args:
        owner: the config class.
        path: of the field.
        given: what an entry says.
        plain: the field in the default config.
    """
    default = plain if isinstance(plain, Mapping) else {}
    for name, value in given.items():
        known = {str(key) for key in default} | rope_keys()
        meant = misspelt(name, known)
        if meant:
            raise HarnessError(
                f"expected `config` to set keys of {owner}.{path}, found `{path}.{name}`. "
                f"Did you mean `{meant}`? Fix: correct it in the entry's `config`, or drop it"
            )
        if isinstance(value, Mapping):
            _check_keys(owner, f"{path}.{name}", value, default.get(name))


@cache
def rope_keys() -> frozenset[str]:
    """The keys that transformers knows of rotary positions; none before its version 5."""
    from transformers import modeling_rope_utils

    declared = getattr(modeling_rope_utils, "RopeParameters", None)
    return frozenset(getattr(declared, "__annotations__", ()))


def unknown_field(owner: str, path: str, name: str, known: Collection[str]) -> HarnessError:
    """The error for a field that a config class, or a constructor, does not have.

    Args:
        owner: the class.
        path: the field below the entry's `config`, as `text_config.hidden_sise`.
        name: the field alone.
        known: the fields that the class has.
    """
    return HarnessError(
        f"expected `config` to set fields of {owner}, found `{path}`.{did_you_mean(name, known)} "
        "Fix: correct it in the entry's `config`, or drop it"
    )


def accepted(cls: type, plain: Any = None) -> frozenset[str]:
    """The names that a config class takes: declared, other names of these, set by itself, read.

    Args:
        cls: the config class.
        plain: its default instance, which has the fields that the class sets and does not declare.
    """
    declared = {*declared_defaults(cls), *getattr(cls, "attribute_map", {}), *parts_of(cls)}
    if plain is not None:
        declared |= {name for name in vars(plain) if not name.startswith("_")}
    read = {name for row in undeclared() if row.are_read_by(cls, declared) for name in row.fields}
    return frozenset(declared | read)


def _default(cls: type) -> Any:
    """The default config; None where a class has no default that it can be built from."""
    try:
        return cls()
    except Exception:  # the class's own checks may refuse its defaults, as composites without parts
        return None


def _part(cls: type, plain: Any, name: str, value: Any) -> type | None:
    """The config class of the part that a field holds; None where it holds none."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("model_type"), str):
        return config_class(value["model_type"])
    held = getattr(plain, name, None)
    if is_config(held):
        return type(held)
    found = parts_of(cls).get(name)
    return found if found is not None and vars(found).get("model_type") else None
