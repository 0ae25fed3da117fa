"""A config class becomes a small config: sizes shrink, structure stays.

The declared defaults are shrunk and the config is constructed once, so that whatever the class
derives from them (`head_dim`, stage names, rope tables) is derived from the small values. Only then
are values that are still equal to the unshrunk default's shrunk in place: those were not derived.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from harness.models.config_classes import config_class
from harness.models.shrink.configs import Config, construct, declared_defaults, is_config
from harness.models.shrink.fields import FieldShrinker
from harness.models.shrink.fitting import fill_absent, fit, fit_head_dim
from harness.models.shrink.layers import kept_layers
from harness.models.shrink.lists import channel_divisor
from harness.models.shrink.overrides import ConfigOverride, override_of
from harness.models.shrink.rope import fit_rope
from harness.models.shrink.rules import rule_of
from harness.models.shrink.sub_configs import absent_parts, own_backbone, part_arguments
from harness.models.shrink.tokens import SpecialTokens


class Shrinker:
    """Shrinks one config and its sub-configs.

    Args:
        cls: the config class.
        model: the name of the model class, which may have an override of its own.
    """

    def __init__(self, cls: type, model: str = "") -> None:
        self._top, self._model = cls, model
        self._tokens = SpecialTokens()
        self._divisor: int | None = None  # of every channel list of the whole config

    def shrink(
        self, cls: type, given: Mapping[str, Any] | None = None, plain: Config | None = None
    ) -> Config:
        """A small config.

        Args:
            cls: the config class.
            given: arguments that differ from the class's defaults; they shrink as the defaults do.
            plain: the unshrunk config, where it exists; absent, it's constructed from `given`.

        Raises:
            Whatever the config class raises when its own checks refuse the small values.
        """
        given = dict(given or {})
        override = self._override(cls)
        forced = {
            name: copy.deepcopy(value)
            for name, value in override.set.items()
            if not _is_said(name, given)
        }
        whole = plain is None
        if plain is None:
            given = {**own_backbone(cls), **given}
            plain = self._default(cls, given)
        if self._divisor is None:
            self._divisor = channel_divisor(plain)
        fields = FieldShrinker(
            plain,
            override,
            layers=None if "num_hidden_layers" in override.keep else kept_layers(plain),
            divisor=self._divisor if self._divisor > 1 else channel_divisor(plain),
            tokens=self._tokens,
        )
        arguments = self._arguments(cls, given, forced, fields)
        if whole:
            fit_head_dim(arguments, cls, given, plain)
        arguments.update(forced)
        config = construct(cls, arguments)
        fields.shrink_in_place(config, arguments)
        fill_absent(config)
        self._tokens.name_placeholders(config)
        fit_rope(config, forced)
        fit(config, plain, forced)
        return config

    def _arguments(
        self, cls: type, given: Mapping[str, Any], forced: Collection[str], fields: FieldShrinker
    ) -> dict[str, Any]:
        """The small arguments of a config class, but for those that an override sets.

        Args:
            cls: the config class.
            given: arguments that differ from the class's defaults.
            forced: names of the arguments that an override sets.
            fields: shrinks the fields of this config.
        """
        plain, override = fields.plain, fields.override
        declared = {
            name: value
            for name, value in {**declared_defaults(cls), **given}.items()
            if name not in forced
        }
        arguments: dict[str, Any] = {}
        for name, value in declared.items():
            part = vars(plain).get(name)
            if is_config(part):
                arguments[name] = self._part(part, given.get(name))
            else:
                small = fields.small(name, value)
                if small is not value or name in given:
                    arguments[name] = small
        arguments |= fields.per_layer(declared)
        absent = absent_parts(cls, plain)
        absent |= {name: config_class(kind) for name, kind in override.subs.items()}
        for name, part_class in absent.items():
            if name not in override.keep:
                arguments[name] = self.shrink(part_class)
        return arguments

    def _part(self, plain: Config, given: Any) -> Config:
        """A small sub-config, or the one that an override puts in its place."""
        replacement = dict(self._override(type(plain)).replace)
        if replacement:
            cls = config_class(replacement.pop("model_type"))
            return self.shrink(cls, {**replacement, **(given or {})})
        return self.shrink(type(plain), part_arguments(plain, given), plain)

    def _override(self, cls: type) -> ConfigOverride:
        return override_of(cls, self._model if cls is self._top else "")

    def _default(self, cls: type, given: Mapping[str, Any]) -> Config:
        """The unshrunk config; where its own defaults are refused, the override's values help."""
        try:
            return cls(**copy.deepcopy(dict(given)))
        except Exception:  # some default configs can't be built: the override says with what
            return cls(**{**given, **copy.deepcopy(dict(self._override(cls).set))})


def _is_said(name: str, given: Mapping[str, Any]) -> bool:
    """Whether an entry itself says what an override would: no size, and nothing of its layers."""
    value = given.get(name)
    return rule_of(name) is None and isinstance(value, bool | int | float | str)


def tiny_config(cls: type, given: Mapping[str, Any] | None = None, model: str = "") -> Config:
    """A small config of a class, with the tables of `overrides.toml` that concern it.

    Args:
        cls: the config class.
        given: arguments that differ from the class's defaults.
        model: the name of the model class that is built from it; it may have a table of its own.
    """
    return Shrinker(cls, model).shrink(cls, given)
