"""Small values of single numbers, by the kind of their rule.

Each function of `SCALARS` takes the rule, the field's name, its value above 0, and the unshrunk
config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.models.shrink.configs import Config
from harness.models.shrink.rules import ShrinkRule

#: The widest attention window, in patches, of a model without stages (SAM), whose map of patches is
#: 4 x 4 when small. The window leaves a remainder of the map, and so padding, as 14 of SAM's 64 do.
FLAT_WINDOW = 3


def capped(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """The rule's constant at most."""
    return value if rule.to is None else min(value, rule.to)


def _kept(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    return value


def has_stages(plain: Config) -> bool:
    """Whether a config counts the layers of each of several stages, as Swin's `depths` do."""
    return isinstance(vars(plain).get("depths"), list | tuple)


def _window(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """An attention window, in patches, for a small map of patches.

    Stage models (Swin) halve the map from stage to stage, and the window must fit the last map.
    """
    if has_stages(plain):
        return capped(rule, name, value, plain)
    return min(value, FLAT_WINDOW) if {"image_size", "patch_size"} <= vars(plain).keys() else value


def image_side(patch: Any) -> int:
    """The smallest side, in pixels, of at least 4 patches that hierarchical models can halve to 32.

    Args:
        patch: side of a patch in pixels; anything but a number above 0 gives 64.
    """
    if not isinstance(patch, int) or patch < 1:
        return 64
    if patch <= 16 and 64 % patch == 0:
        return 64
    return patch * 4


def _image(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    return value if value <= 32 else min(value, image_side(vars(plain).get("patch_size", 16)))


def _heads(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """The largest power of two within the value and the rule's constant."""
    power = 1
    while power * 2 <= min(value, rule.to or 4):
        power *= 2
    return power


def _kv_heads(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """Heads of keys and values: equal to the heads stays equal, one stays one, grouped grouped."""
    heads = next(
        (
            vars(plain)[key]
            for key in (
                name.replace("key_value", "attention"),
                "num_attention_heads",
                "n_head",
                "num_heads",
            )
            if key != name and isinstance(vars(plain).get(key), int)
        ),
        None,
    )
    if heads is not None and value == heads:
        return _heads(ShrinkRule("heads", rule.pattern, 4), name, value, plain)
    return min(value, 2)


def _hidden(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """A width; stage models (Swin) double theirs from stage to stage, so that they begin at 16."""
    if name == "embed_dim" and has_stages(plain):
        return min(value, 16)
    if value <= (rule.to or 64):
        return value
    widths_listed = isinstance(vars(plain).get("hidden_sizes"), list | tuple)
    if name == "hidden_size" and has_stages(plain) and not widths_listed:
        return 16
    return rule.to or 64


def _positions(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """Learned tables shrink; rotary ones cost nothing, and their scaling needs the true length."""
    if {"rope_parameters", "rope_theta"} & vars(plain).keys():
        return value
    return min(value, rule.to or 128)


def _doubled(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """The first width of a codec (DAC) that doubles it with every ratio: the last stays small."""
    tables = (vars(plain).get(key) for key in ("downsampling_ratios", "upsampling_ratios"))
    ratios = next((table for table in tables if isinstance(table, list | tuple)), ())
    return min(value, max(2, (rule.to or 64) >> len(ratios)))


#: By kind of rule; other kinds are `capped`.
SCALARS: Mapping[str, Callable[[ShrinkRule, str, int, Config], int]] = {
    "keep": _kept,
    "image": _image,
    "heads": _heads,
    "kv_heads": _kv_heads,
    "hidden": _hidden,
    "window": _window,
    "patch": _kept,
    "positions": _positions,
    "doubled": _doubled,
}
