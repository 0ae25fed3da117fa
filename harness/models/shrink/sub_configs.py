"""Parts of a composite config: those that its default lacks, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.models.config_classes import parts_of
from harness.models.shrink.configs import Config, declared_defaults, is_config


def own_backbone(cls: type) -> dict[str, Any]:
    """Arguments for transformers' own backbone, where a config (DETR's) also takes timm's.

    timm's are not in every backend's pins, and the model shall be the same on all of them.
    """
    declared = declared_defaults(cls)
    if declared.get("use_timm_backbone") is not True:
        return {}
    own = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    return {name: value for name, value in own.items() if name in declared}


def absent_parts(cls: type, plain: Config) -> dict[str, type]:
    """Config classes of the modalities that the default composite leaves None, by field."""
    return {
        name: part
        for name, part in parts_of(cls).items()
        if vars(plain).get(name, plain) is None and vars(part).get("model_type", "")
    }


def part_arguments(part: Config, given: Any) -> dict[str, Any]:
    """Arguments that a composite config passes to a part beyond that class's own defaults.

    Args:
        part: the unshrunk sub-config.
        given: what an entry says of it, if anything.
    """
    declared = declared_defaults(type(part))
    try:
        plain = vars(type(part)())
    except Exception:
        plain = {}
    found = {
        name: value
        for name, value in vars(part).items()
        if name in declared and name in plain and not is_config(value) and value != plain[name]
    }
    if isinstance(given, Mapping):
        found.update({k: v for k, v in given.items() if k != "model_type"})
    found.pop("dtype", None)
    return found
