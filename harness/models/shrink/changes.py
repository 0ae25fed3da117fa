"""Changes of a config: each field that a small or a wide one has otherwise, and the rule behind it.

The rule is found again from the field's name and value, as the shrinker finds it, and counts only
where it gives the value that the config has; a field without one follows from other fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.models.shrink import overrides
from harness.models.shrink.configs import Config, is_config
from harness.models.shrink.fields import UNSET, FieldShrinker
from harness.models.shrink.layers import LAYER_INDICES, is_pattern, is_per_layer, kept_layers
from harness.models.shrink.lists import channel_divisor
from harness.models.shrink.overrides import ConfigOverride, override_of
from harness.models.shrink.rules import rule_of
from harness.models.shrink.slicer import of_layers
from harness.models.shrink.stacks import stacks_of
from harness.models.shrink.sub_configs import own_backbone
from harness.models.shrink.tokens import SpecialTokens

#: The value of a field that one of two configs lacks.
LACKING = "-"

#: The rule of a field that no rule changes: its class computes it, or it is fitted to others.
FOLLOWS = "follows from other fields"

#: From the name of a field, its published and its built value, to the rule between them.
Explain = Callable[[str, Any, Any], str]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a config that differs from the published one.

    Attributes:
        path: its name, that of a part's with a dot, as `text_config.hidden_size`.
        published: its value in the published config.
        built: its value in the config that is built.
        rule: why they differ.
    """

    path: str
    published: Any
    built: Any
    rule: str


def changes(published: Any, built: Any, size: str, model: str) -> list[FieldChange]:
    """The fields of a config that differ from the published one.

    Args:
        published: the config at full size.
        built: the config that is built.
        size: its size.
        model: the name of the model's class, which may have an override of its own.
    """
    if not is_config(published):  # a constructor's arguments, of another library than transformers
        rule = f"the library's rules for {size} models"
        return list(_fields(published, built, "", lambda name, before, after: rule))
    return list(_config(published, built, "", size, model))


def _config(
    published: Config, built: Config, where: str, size: str, model: str = ""
) -> Iterator[FieldChange]:
    override = override_of(type(published), model)
    explain = _tiny(published, override) if size == "tiny" else _wide(published, override)
    yield from _fields(published, built, where, explain)
    for name, part in vars(built).items():
        if not is_config(part):
            continue
        plain = vars(published).get(name)
        path = f"{where}{name}"
        if not is_config(plain):
            text = _named(override) if name in override.subs else "no model without this part"
            yield FieldChange(path, LACKING, type(part).__name__, text)
            plain = _default(type(part))
        elif type(plain) is not type(part):
            text = _named(override_of(type(plain)))
            yield FieldChange(path, type(plain).__name__, type(part).__name__, text)
            plain = _default(type(part))
        if plain is not None:
            yield from _config(plain, part, f"{path}.", size)


def _fields(published: Any, built: Any, where: str, explain: Explain) -> Iterator[FieldChange]:
    before, after = _plain(published), _plain(built)
    for name in {**before, **after}:
        yield from _field(
            f"{where}{name}", before.get(name, LACKING), after.get(name, LACKING), explain, name
        )


def _field(
    path: str, before: Any, after: Any, explain: Explain, name: str
) -> Iterator[FieldChange]:
    if _alike(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from _field(
                f"{path}.{key}", before.get(key, LACKING), after.get(key, LACKING), explain, name
            )
    else:
        yield FieldChange(path, before, after, explain(name, before, after))


def _tiny(plain: Config, override: ConfigOverride) -> Explain:
    """Explains the fields of a small config."""
    layers = None if "num_hidden_layers" in override.keep else kept_layers(plain)
    divisor = channel_divisor(plain)
    fields = FieldShrinker(plain, override, layers, divisor, SpecialTokens())

    def explain(name: str, before: Any, after: Any) -> str:
        rule = rule_of(name)
        if name in override.set and override.set[name] == after:
            return _named(override)
        if name in own_backbone(type(plain)):
            return "transformers' own backbone, as timm's is not in all pins"
        if name in UNSET and before == UNSET[name][0]:
            return "no use without it"
        if layers and (is_per_layer(name, before, plain) or is_pattern(name, before)):
            return f"layers: {_kept(layers.indices)} of {layers.count}"
        if LAYER_INDICES.fullmatch(name):
            return "layers: the last one"
        if rule is not None and rule.kind == "token":
            return "token: ids within the small vocabulary"
        try:
            exact = _alike(fields.small(name, before), after)
        except Exception:  # a value that the class computes, of a type that has no rule
            exact = False
        if not exact:
            return FOLLOWS
        if isinstance(before, list | tuple):
            return "list: each item as small as its stage allows"
        if rule is not None and rule.kind == "layers":
            return f"layers: one of each kind, {after} of {before}"
        if rule is None:
            return FOLLOWS
        most = rule.factor if isinstance(before, float) else rule.to
        return f"{rule.kind}: at most {most:g}" if most is not None and after <= most else rule.kind

    return explain


def _wide(plain: Config, override: ConfigOverride) -> Explain:
    """Explains the fields of a config of published widths."""
    stacks = stacks_of(plain)

    def explain(name: str, before: Any, after: Any) -> str:
        if name in override.published:
            return _named(override)
        if name in own_backbone(type(plain)):
            return "transformers' own backbone, as timm's is not in all pins"
        if name in UNSET and before == UNSET[name][0]:
            return "no use without it"
        if name in stacks:
            return f"layers: two of each kind, {after} of {before}"
        if name in of_layers(plain, ()):
            return "layers: of those that are kept"
        rule = rule_of(name)
        if rule is not None and rule.kind == "token":
            return "token: ids within the vocabulary"
        return FOLLOWS

    return explain


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are the same; a list and a tuple of the same items are."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


def _kept(indices: tuple[int, ...]) -> str:
    """The indices of layers in words, from 0."""
    return f"number {', '.join(map(str, indices))}"


def _named(override: ConfigOverride) -> str:
    """The table of `overrides.toml`, by its reason."""
    reason = override.reason or "an exception to the rules"
    return f"{overrides.TABLE.name}: {reason}"


def _plain(config: Any) -> dict[str, Any]:
    """The public fields of a config that are no parts of it."""
    return {n: v for n, v in vars(config).items() if not n.startswith("_") and not is_config(v)}


def _default(cls: type) -> Config | None:
    try:
        return cls()
    except Exception:  # the class's own checks refuse its defaults
        return None
