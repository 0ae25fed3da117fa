"""Models of diffusers, by class name.

They have no config classes: a model's config is what its constructor's signature declares, which
shrinks by the rules of `from_diffusers.toml`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.catalog.model_lists import with_none
from harness.contract import BASE, Arrays, PipelineCase
from harness.inputs.denoiser import DenoiserInputs
from harness.models import checkpoint, config_fields, libraries
from harness.models.shrink.rope import scaled_sections
from harness.models.slices import LayersWanted, Slice, sliced_fields, usual_layers
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, INTEGER, PATTERNS, STRINGS, TABLE, Key

#: The condition in whose place an image may stand.
TEXT = "encoder_hidden_states"

#: The kinds of rules; `from_diffusers.toml` says what each does.
KINDS = ("cap", "depth", "channels", "heads", "head_dim", "sections", "layers")

TABLES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class DenoiserRule:
    """One row `[[rule]]` of `from_diffusers.toml`."""

    kind: str
    pattern: re.Pattern[str]
    to: int


@dataclass(frozen=True, slots=True)
class DenoiserOverride:
    """Exceptions of one class to the rules; a table `[override.NAME]` of `from_diffusers.toml`."""

    reason: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)
    layout: tuple[str, ...] = ()  # of the noise
    time: str = "steps"  # what time counts: see harness.inputs.denoiser.TIMES


#: The keys of a `[[rule]]`.
RULE_KEYS: Mapping[str, Key] = {
    "kind": Key("What the argument counts.", choices=KINDS, required=True),
    "match": Key("Each matches the whole name of an argument.", PATTERNS, required=True),
    "to": Key("The small value.", INTEGER),
}
#: The keys of the file.
KEYS: Mapping[str, Key] = {
    "rule": Key("How arguments shrink.", ANY, required=True),
    "override": Key(
        "What a class needs beyond the rules.",
        TABLE,
        required=True,
        keys=Key("Of one class.", TABLE, keys=keys_of(DenoiserOverride)),
    ),
    "nested": Key("Keys of dictionaries.", TABLE, required=True, keys=Key("Keys.", STRINGS)),
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of `from_diffusers.toml`."""

    rules: tuple[DenoiserRule, ...]
    overrides: Mapping[str, DenoiserOverride]
    nested: Mapping[str, tuple[str, ...]]


@cache
def tables() -> Tables:
    """Reads `from_diffusers.toml`."""
    source = TomlFile(TABLES)
    source.check_top(KEYS)
    read = source.tables
    rules = (
        DenoiserRule(row["kind"], re.compile("|".join(row["match"])), row.get("to", 1))
        for row in source.check_rows("rule", RULE_KEYS)
    )
    overrides = {
        name: DenoiserOverride(**{**with_none(row), "layout": tuple(row.get("layout", ()))})
        for name, row in read["override"].items()
    }
    return Tables(tuple(rules), overrides, {k: tuple(v) for k, v in read["nested"].items()})


class Diffusers:
    """Implements `harness.models.libraries.Library`."""

    has_heads = False

    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The arguments of the model's constructor as attributes, and its name.

        Raises:
            Absent: this environment's diffusers has no such class.
            HarnessError: a given argument does not exist.
        """
        if size == "wide":
            return self.sliced(architecture, given, head).config
        fields = _fields(architecture, given)
        return SimpleNamespace(
            model_type=architecture,
            **(fields if size == "full" else tiny(fields, tables().overrides.get(architecture))),
        )

    def sliced(
        self,
        architecture: str,
        given: Mapping[str, Any],
        head: str = BASE,
        wanted: LayersWanted = usual_layers,
    ) -> Slice:
        """The arguments of the model's constructor, those that count layers smaller.

        Raises:
            Absent: this environment's diffusers has no such class.
            HarnessError: a given argument does not exist.
        """
        depths = next(rule.pattern for rule in tables().rules if rule.kind == "depth")
        found = sliced_fields(_fields(architecture, given), depths, wanted)
        found.config = SimpleNamespace(model_type=architecture, **found.config)
        return found

    def preload(self, architecture: str) -> None:
        """Import the module that has the class."""
        _class(architecture)

    def pipeline(
        self, architecture: str, head: str, inputs: Arrays, seed: int
    ) -> PipelineCase | None:
        """None: a pipeline of diffusers is several models; this is one of them."""
        return None

    def pretrained(
        self, architecture: str, head: str, folder: Path, *, trusted: bool = False
    ) -> Any:
        """The model that `from_pretrained` loads from a checkpoint's folder, in float32.

        Raises:
            Absent: no such class.
            CheckFailed: a tensor is missing, unexpected, or of another shape.
            HarnessError: the checkpoint is of another class.
        """
        cls = _class(architecture)
        saved = checkpoint.config_of(folder).get("_class_name")
        if saved != architecture:
            raise checkpoint.other_architecture(folder, architecture, f"_class_name {saved!r}")
        model, info = cls.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
        loaded = checkpoint.LoadedTensors.of(info)
        checkpoint.check_tensors(model, loaded, [architecture], folder)
        return model.float()

    def placeholders(self, module: Any, config: Any) -> tuple[int, ...]:
        """None: its models read no tokens."""
        return ()

    def module(self, architecture: str, config: Any, head: str = BASE) -> Any:
        """The model with the library's own initial weights."""
        from diffusers.utils import logging

        logging.set_verbosity_error()
        fields = {name: value for name, value in vars(config).items() if name != "model_type"}
        return model_class(architecture)(**fields)

    def inputs(
        self, module: Any, config: Any, *, seed: int, variant: str, batch: int, length: int
    ) -> Arrays:
        """Noise, time and conditions, as forward's signature and docstring ask for them."""
        override = tables().overrides.get(config.model_type, DenoiserOverride())
        maker = DenoiserInputs(
            module, config, seed, variant, batch, length, override.layout, override.time
        )
        return maker.make()


def tiny(fields: Mapping[str, Any], override: DenoiserOverride | None = None) -> dict[str, Any]:
    """A constructor's arguments, the sizes among them small.

    Args:
        fields: names and unshrunk values.
        override: of this class.
    """
    found = {}
    for name, value in fields.items():
        rule = next((r for r in tables().rules if r.pattern.fullmatch(name)), None)
        found[name] = value if rule is None else _KINDS[rule.kind](value, rule.to, fields)
    return {**found, **(override.set if override else {})}


@cache
def model_class(architecture: str) -> type:
    """A model's class; what its forward takes as a dictionary are arguments of their own.

    Raises:
        Absent: this environment's diffusers has no such class.
    """
    cls: type[Any] = _class(architecture)
    nested = {
        name: keys
        for name, keys in tables().nested.items()
        if name in inspect.signature(cls.forward).parameters
    }
    if not nested:
        return cls
    body = {"forward": _flat_forward(cls, nested), "__module__": cls.__module__}
    return type(cls.__name__, (cls,), body)


def _fields(architecture: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a class's constructor: its defaults, and what is given."""
    parameters = inspect.signature(_class(architecture).__init__).parameters
    for name in given:
        if name not in parameters:
            raise config_fields.unknown_field(architecture, name, name, parameters.keys())
    declared = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
    return {**declared, **given}


def _class(architecture: str) -> Any:
    import diffusers

    return libraries.class_of(diffusers, architecture)


def _flat_forward(cls: Any, nested: Mapping[str, tuple[str, ...]]) -> Callable[..., Any]:
    """A forward that packs its further arguments into the dictionaries of the class's own."""
    own = inspect.signature(cls.forward)
    names = list(own.parameters)

    def forward(self: Any, *args: Any, **given: Any) -> Any:
        for name, keys in nested.items():
            packed = {key: given.pop(key) for key in keys if key in given}
            if packed:
                given[name] = packed
        if TEXT in names[1 + len(args) :]:
            given.setdefault(TEXT, None)
        return cls.forward(self, *args, **given)

    # No parameter without a default may follow one that has a default.
    optional = set(names[names.index(TEXT) :]) if TEXT in names else set()
    kept = [
        p.replace(default=None) if p.name in optional and p.default is p.empty else p
        for p in own.parameters.values()
        if p.name not in nested
    ]
    more = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None)
        for keys in nested.values()
        for key in keys
    ]
    forward.__doc__ = cls.forward.__doc__
    forward.__signature__ = own.replace(parameters=kept + more)  # type: ignore[attr-defined]
    return forward


# -- kinds of rules ------------------------------------------------------------------------------


def _cap(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_cap(item, to, fields) for item in value)
    return min(value, to) if isinstance(value, int) and not isinstance(value, bool) else value


def _channels(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    if not _numbers(value) or min(value) <= to:
        return value
    return type(value)(to * max(1, round(item / min(value))) for item in value)


def _heads(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    if not _numbers(value):
        return _cap(value, to, fields)
    return type(value)(max(1, item // min(value)) for item in value)


def _head_dim(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    if fields.get("num_attention_heads") is None:
        return _heads(value, to // 4, fields)
    return _cap(value, to, fields)


def _sections(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    if not _numbers(value) or sum(value) <= to:
        return value
    return type(value)(2 * part for part in scaled_sections([n // 2 for n in value], to // 2))


def _layers(value: Any, to: int, fields: Mapping[str, Any]) -> Any:
    return type(value)([0]) if value else value


def _numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, int) and item > 0 for item in value)
    )


_KINDS: Mapping[str, Callable[[Any, int, Mapping[str, Any]], Any]] = {
    "cap": _cap,
    "depth": _cap,
    "channels": _channels,
    "heads": _heads,
    "head_dim": _head_dim,
    "sections": _sections,
    "layers": _layers,
}

LIBRARY = Diffusers()
