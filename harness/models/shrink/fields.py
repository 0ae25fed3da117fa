"""The small value of one field, by its rule, its type, and the other fields of its config."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from harness.models.shrink.configs import Config, is_config
from harness.models.shrink.layers import (
    LAYER_INDICES,
    SHARED_LAYERS,
    KeptLayers,
    is_pattern,
    is_per_layer,
    kinds,
)
from harness.models.shrink.lists import small_list
from harness.models.shrink.overrides import ConfigOverride
from harness.models.shrink.rules import ShrinkRule, rule_of
from harness.models.shrink.scalars import SCALARS, capped
from harness.models.shrink.tokens import SpecialTokens

#: Fields that a default leaves out although every use needs them, as Informer's
#: `prediction_length`: the default, and the value that is put in its place.
UNSET: Mapping[str, tuple[Any, Any]] = {
    "prediction_length": (None, 12),
    "num_time_features": (0, 1),
}


@dataclass(frozen=True, slots=True)
class FieldShrinker:
    """Shrinks the fields of one config.

    Attributes:
        plain: the unshrunk config.
        override: what its class needs beyond the rules.
        layers: those that the small config keeps; None where no one number counts them.
        divisor: of the channels in lists.
        tokens: the special tokens of the whole config.
    """

    plain: Config
    override: ConfigOverride
    layers: KeptLayers | None
    divisor: int
    tokens: SpecialTokens

    def small(self, name: str, value: Any) -> Any:
        """The small value of a field; the very same object where the field is no size."""
        rule = rule_of(name)
        if name in self.override.keep:
            return value
        if name in UNSET and value == UNSET[name][0]:
            return UNSET[name][1]
        if isinstance(value, float) and rule is not None and rule.factor is not None:
            return min(value, rule.factor)
        if isinstance(value, list | tuple):
            return self._small_list(name, value)
        if SHARED_LAYERS.fullmatch(name) and isinstance(value, int) and self.layers is not None:
            return self.layers.of_the_last(value)
        if isinstance(value, int) and not isinstance(value, bool) and rule is not None:
            return self._small_number(rule, name, value)
        return value

    def _small_list(self, name: str, value: list[Any] | tuple[Any, ...]) -> Any:
        layers = self.layers
        if LAYER_INDICES.fullmatch(name):
            return type(value)([1 if layers is None else len(layers.indices) - 1])
        if layers is not None and is_pattern(name, value) and len(value) < layers.count:
            return type(value)(kinds(value))
        return small_list(name, value, self.plain, self.divisor)

    def _small_number(self, rule: ShrinkRule, name: str, value: int) -> int:
        if rule.kind == "token":
            return self.tokens.small(value)
        if rule.kind == "layers":
            if self.layers is not None and value == self.layers.count:
                return len(self.layers.indices)
            depths = vars(self.plain).get("depths")
            if isinstance(depths, list | tuple) and len(depths) == value:
                return value  # counts the stages, each of which has its own list entries
            return min(value, 2)
        if value <= 0:
            return value
        return SCALARS.get(rule.kind, capped)(rule, name, value, self.plain)

    def per_layer(self, names: Collection[str]) -> dict[str, Any]:
        """Of these fields, those that list a value for each layer, cut to the kept layers."""
        if self.layers is None:
            return {}
        return {
            name: type(value)(
                self.small(name.removesuffix("_per_layer"), value[i]) for i in self.layers.indices
            )
            for name, value in vars(self.plain).items()
            if name in names and is_per_layer(name, value, self.plain)
        }

    def shrink_in_place(self, config: Config, done: Collection[str]) -> None:
        """Shrinks the fields that the config class did not derive from small arguments.

        Args:
            config: built from the small arguments.
            done: names of those arguments.
        """
        for name, value in list(vars(config).items()):
            if name.startswith("_") or name in done or is_config(value):
                continue
            if name in vars(self.plain) and value == vars(self.plain)[name]:
                small = self.small(name, value)
                if small is not value and small != value:
                    setattr(config, name, small)
