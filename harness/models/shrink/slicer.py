"""A config class becomes the config of a slice: published widths, and only some of the layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from harness.models.config_classes import config_class
from harness.models.shrink.configs import (
    Config,
    construct,
    declared_defaults,
    is_config,
)
from harness.models.shrink.fields import UNSET
from harness.models.shrink.fitting import fill_absent, fit_outputs
from harness.models.shrink.layers import SHARED_LAYERS, is_pattern, is_per_layer, layer_count
from harness.models.shrink.overrides import override_of
from harness.models.shrink.rope import fit_rope
from harness.models.shrink.stacks import (
    FIRST_LAYERS,
    KIND_INDICES,
    OUTPUT_INDICES,
    SOURCES,
    LayerStack,
    is_repeated,
    stacks_of,
)
from harness.models.shrink.sub_configs import absent_parts, own_backbone
from harness.models.shrink.tokens import SpecialTokens
from harness.models.slices import LayersWanted, Slice, usual_layers


class Slicer:
    """Takes layers from one config and its sub-configs.

    Args:
        model: the name of the model class, which may have an override of its own.
        wanted: how many layers of each kind.
    """

    def __init__(self, model: str = "", wanted: LayersWanted = usual_layers) -> None:
        self._model, self._wanted = model, wanted
        self.tokens = SpecialTokens()
        self.layers: dict[str, int] = {}
        self.whole: dict[str, int] = {}

    def slice(
        self,
        cls: type,
        given: Mapping[str, Any] | None = None,
        plain: Config | None = None,
        where: str = "",
    ) -> Config:
        """The config of a slice.

        Args:
            cls: the config class.
            given: arguments that differ from the class's defaults.
            plain: the unsliced config, where it exists; absent, it's constructed from `given`.
            where: the prefix of this config's labels; empty for the whole.

        Raises:
            Whatever the config class raises when its own checks refuse the values.
        """
        given = dict(given or {})
        override = override_of(cls, "" if where else self._model)
        declared = declared_defaults(cls)
        unset = {n: v for n, (default, v) in UNSET.items() if declared.get(n, v) == default}
        given = {**unset, **copy.deepcopy(dict(override.published)), **given}
        is_part = plain is not None and not unset and not override.published
        if plain is None:
            given = {**own_backbone(cls), **given}
            plain = cls(**copy.deepcopy(given))
        arguments = dict(given)
        for name in declared:
            part = vars(plain).get(name)
            if is_config(part):
                arguments[name] = self._part(part, given.get(name), f"{where}{name}.")
        absent = absent_parts(cls, plain)
        absent |= {name: config_class(kind) for name, kind in override.subs.items()}
        for name, part_class in absent.items():
            if name not in override.keep:
                arguments[name] = self.slice(part_class, where=f"{where}{name}.")
        cut = self._cut(plain, where)
        has_parts = any(is_config(value) for value in arguments.values())
        if is_part and not has_parts and all(vars(plain)[n] == v for n, v in cut.items()):
            return copy.deepcopy(plain)
        config = construct(cls, arguments | cut)
        fill_absent(config)
        self.tokens.name_placeholders(config)
        fit_rope(config, ())
        fit_outputs(config, plain, ())
        return config

    def _part(self, plain: Config, given: Any, where: str) -> Config:
        """The slice of a sub-config, or of the one that an override puts in its place."""
        replacement = dict(override_of(type(plain)).replace)
        if replacement:
            cls = config_class(replacement.pop("model_type"))
            return self.slice(cls, {**replacement, **(given or {})}, where=where)
        declared = declared_defaults(type(plain))
        own = {n: v for n, v in vars(plain).items() if n in declared and v != declared[n]}
        own |= {n: v for n, v in (given or {}).items() if n != "model_type"}
        return self.slice(
            type(plain), {n: v for n, v in own.items() if not is_config(v)}, plain, where
        )

    def _cut(self, plain: Config, where: str) -> dict[str, Any]:
        """The arguments that concern layers, for the layers that are kept."""
        arguments: dict[str, Any] = {}
        for name, stack in stacks_of(plain).items():
            if isinstance(stack, LayerStack):
                indices = self._chosen(stack, where)
                arguments[name] = len(indices)
                if len(stack.kinds) == layer_count(plain):
                    arguments |= of_layers(plain, indices)
            else:
                depths = [len(self._chosen(stage, where)) for stage in stack]
                arguments[name] = type(vars(plain)[name])(depths)
        return arguments

    def _chosen(self, stack: LayerStack, where: str) -> tuple[int, ...]:
        indices = stack.chosen(where, self._wanted)
        self.whole |= stack.counts(where)
        self.layers |= stack.counts(where, indices)
        return indices


def of_layers(plain: Config, indices: tuple[int, ...]) -> dict[str, Any]:
    """The declared arguments that tell a config's layers apart, for some of these layers.

    Args:
        plain: the unsliced config.
        indices: of the layers that are kept.
    """
    count = layer_count(plain) or 0
    declared = declared_defaults(type(plain))
    found: dict[str, Any] = {}
    place = {index: i for i, index in enumerate(indices)}
    for name, value in vars(plain).items():
        if name not in declared or value is None:
            continue
        if KIND_INDICES.fullmatch(name) or OUTPUT_INDICES.fullmatch(name):
            if isinstance(value, list | tuple):
                found[name] = type(value)(place[i] for i in value if i in place)
        elif SOURCES.fullmatch(name) and isinstance(value, list | tuple) and len(value) == count:
            found[name] = type(value)(place.get(value[i], 0) for i in indices)
        elif FIRST_LAYERS.fullmatch(name) and isinstance(value, int):
            found[name] = sum(i < value for i in indices)
        elif SHARED_LAYERS.fullmatch(name) and isinstance(value, int):
            found[name] = sum(i >= count - value for i in indices)
        elif is_pattern(name, value) and 0 < len(value) < count:
            found[name] = type(value)(value[i % len(value)] for i in indices)
        elif is_per_layer(name, value, plain):
            found[name] = type(value)(value[i] for i in indices)
        elif is_repeated(value):
            words = [word for words, times in value for word in list(words) * times]
            if len(words) == count:
                found[name] = [[[words[i] for i in indices], 1]]
    return found


def sliced(
    cls: type,
    given: Mapping[str, Any] | None = None,
    model: str = "",
    wanted: LayersWanted = usual_layers,
) -> Slice:
    """A slice of a config class: everything as published but for the number of layers.

    Args:
        cls: the config class.
        given: arguments that differ from the class's defaults.
        model: the name of the model class that is built from it.
        wanted: how many layers of each kind.
    """
    slicer = Slicer(model, wanted)
    config = slicer.slice(cls, given)
    slicer.tokens.move_inside(config)
    return Slice(config, slicer.layers, slicer.whole)
