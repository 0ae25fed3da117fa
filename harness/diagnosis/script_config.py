"""Construction of a model in a script: its class, and the config fields that are no defaults."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from harness.contract import Case, Unsupported
from harness.diagnosis import source_text
from harness.models.forward_methods import forward_methods

#: Fields that say nothing of the model.
UNSAID = frozenset({"transformers_version", "_name_or_path", "_attn_implementation"})

#: Fields that are assigned after construction at most.
MOST_ASSIGNED = 12

#: Named argument values of a config or a model.
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Construction:
    """Source text that makes a model with the library's own weights.

    Attributes:
        imports: whole lines.
        code: statements, the last of which sets `model`.
        needs: distributions on PyPI that it imports.
    """

    imports: tuple[str, ...]
    code: str
    needs: tuple[str, ...]


def construction(case: Case, config: Any) -> Construction:
    """The construction of a case's model.

    Args:
        case: the model.
        config: a config of it that no model was made of.

    Raises:
        Unsupported: the model is made of more than its config.
    """
    module = case.module()
    if isinstance(config, SimpleNamespace):
        return _by_constructor(module, config)
    if hasattr(module, "set_retriever"):
        raise Unsupported("the model searches documents by a class of this project")
    wanted = type(module.config)
    if type(config) is not wanted:  # a model of one part of a composite
        parts = [value for value in vars(config).values() if type(value) is wanted]
        config = parts[0] if parts else copy.deepcopy(module.config)
    cls = type(module)
    base = cls if _importable(cls) is cls else cls.__mro__[1]
    built = built_config(wanted, config)
    code = f"{built}\nmodel = {base.__name__}(config).eval()"
    imports = _imports(wanted, base)
    if base is not cls:  # whose forward is another of its methods
        method = forward_methods()[case.entry.architecture]
        imports = ("from operator import attrgetter", *imports)
        code = (
            f"{built}\n\n\nclass Model({base.__name__}):\n"
            f'    forward = property(attrgetter("{method}"))\n\n\nmodel = Model(config).eval()'
        )
    return Construction(imports, code, ("transformers",))


def built_config(cls: type, config: Any) -> str:
    """The statements that set `config` to an equal config, with the fewest arguments.

    What a composite's constructor sets by itself, against its arguments, is assigned afterwards.

    Raises:
        Unsupported: its fields make no equal config.
    """
    wanted = _fields(config)
    try:
        rebuilt = cls(**copy.deepcopy(wanted))
    except Exception as error:  # whatever a config class says to its own fields
        raise Unsupported(f"{cls.__name__} does not take its own fields: {error}") from error
    target = _told(rebuilt)

    def same(given: Fields) -> bool:
        try:
            return _told(cls(**copy.deepcopy(given))) == target
        except Exception:  # whatever a config class says to fields that do not go together
            return False

    short = _without_defaults(cls, wanted)
    fields = pruned(short if same(short) else wanted, same)
    left = _differences(_fields(rebuilt), wanted)
    if len(left) > MOST_ASSIGNED:
        raise Unsupported(f"the fields of {cls.__name__} make no equal config: {sorted(left)}")
    for path, value in left.items():
        owner, _, name = path.rpartition(".")
        setattr(attrgetter(owner)(rebuilt) if owner else rebuilt, name, value)
    if _told(rebuilt) != _told(config):
        raise Unsupported(f"the fields of {cls.__name__} make no equal config")
    made = source_text.call(f"config = {cls.__name__}", fields)
    assigned = [f"config.{path} = {source_text.literal(value)}" for path, value in left.items()]
    return "\n".join([made, *assigned])


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Fields:
    """The values that differ, by the dotted path of each in nested dictionaries."""
    made: Fields = {}
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict) and "model_type" in value:
            inner = _differences(other, value)
            made |= {f"{name}.{path}": each for path, each in inner.items()}
        elif json.dumps(value, default=str) != json.dumps(other, default=str):
            made[name] = value
    return made


def pruned(given: Fields, same: Callable[[Fields], bool]) -> Fields:
    """The arguments without those that `same` does not need, nested ones too, in their order."""
    kept = copy.deepcopy(given)

    def visit(table: Fields) -> None:
        for name in list(table):
            before = dict(table)
            del table[name]
            if same(kept):
                continue
            table.clear()
            table.update(before)
            if isinstance(before[name], dict):
                visit(before[name])

    visit(kept)
    return kept


def _without_defaults(cls: type, fields: Fields) -> Fields:
    try:
        defaults = cls().to_dict()
    except Exception:  # a composite that has no default parts
        return fields
    return {name: value for name, value in fields.items() if defaults.get(name, cls) != value}


def _fields(config: Any) -> Fields:
    return {k: v for k, v in config.to_dict().items() if k not in UNSAID}


def _told(config: Any) -> str:
    return json.dumps(_fields(config), sort_keys=True, default=str)


def _by_constructor(module: Any, config: Any) -> Construction:
    """A model whose config is its constructor's arguments, as of diffusers."""
    cls = next(c for c in type(module).__mro__ if _importable(c) is c)
    if cls is not type(module):
        raise Unsupported("the arguments of its forward are made by a class of this project")
    declared = inspect.signature(cls.__init__).parameters
    fields = {
        name: value
        for name, value in vars(config).items()
        if name != "model_type" and (name not in declared or declared[name].default != value)
    }
    code = source_text.call(f"model = {cls.__name__}", fields) + ".eval()"
    return Construction(_imports(cls), code, (cls.__module__.partition(".")[0],))


def _importable(cls: type) -> type | None:
    """The class that an import of a class's name from its module gives."""
    return getattr(importlib.import_module(cls.__module__), cls.__name__, None)


def _imports(*classes: type) -> tuple[str, ...]:
    """One import for each place: the library where it exports the class, else its module."""
    places: dict[str, list[str]] = {}
    for cls in classes:
        library = cls.__module__.partition(".")[0]
        exported = getattr(importlib.import_module(library), cls.__name__, None) is cls
        places.setdefault(library if exported else cls.__module__, []).append(cls.__name__)
    return tuple(
        f"from {place} import {', '.join(sorted(names))}" for place, names in places.items()
    )


def options(given: Mapping[str, Any]) -> str:
    """Arguments of forward that are no arrays, as they stand in a call: `, use_cache=False`."""
    return "".join(f", {name}={source_text.literal(value)}" for name, value in given.items())
