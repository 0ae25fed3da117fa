"""Config classes of transformers: of a model type, and of a composite's parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contract import Absent
from harness.models import checkpoint
from harness.toolkit.close_matches import did_you_mean


def config_class(architecture: str) -> type:
    """The config class of a model type.

    Raises:
        Absent: this environment's transformers has no such model type.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        found: type = CONFIG_MAPPING[architecture]
    except KeyError:
        raise Absent(
            f"transformers {transformers.__version__} has no model type {architecture!r}"
            f".{did_you_mean(architecture, CONFIG_MAPPING)}".removesuffix(".")
        ) from None
    return found


def parts_of(cls: type) -> Mapping[str, type]:
    """The config classes of a composite's parts; older ones know them of an instance only."""
    found = getattr(cls, "sub_configs", None)
    return found if isinstance(found, Mapping) else {}


def saved_by(folder: Path, architecture: str) -> tuple[str, ...]:
    """The names of the model classes that saved a checkpoint, as its config.json says.

    Args:
        folder: of the checkpoint's files.
        architecture: the model type that the checkpoint has to be of, or be a composite of.

    Raises:
        HarnessError: the checkpoint is of another architecture, or does not say of which.
    """
    import transformers

    config = checkpoint.config_of(folder)
    said, wanted = config.get("model_type"), config_class(architecture)
    saved = config.get("architectures") or []
    saved = [name for name in saved if isinstance(name, str)] if isinstance(saved, list) else []
    made: list[Any] = [getattr(getattr(transformers, n, None), "config_class", None) for n in saved]
    related = _with_parts(_config_class_or_none(said) or wanted)
    if said is None and not any(made):
        raise checkpoint.other_architecture(folder, architecture, "no model_type")
    other = said != architecture and (not isinstance(said, str) or wanted not in related)
    if said is not None and other:
        raise checkpoint.other_architecture(folder, architecture, f"model_type {said!r}")
    for name, cls in zip(saved, made, strict=True):
        if isinstance(cls, type) and cls not in related:
            raise checkpoint.other_architecture(folder, architecture, f"architectures [{name!r}]")
    return tuple(saved)


def _config_class_or_none(model_type: Any) -> type | None:
    try:
        return config_class(model_type) if isinstance(model_type, str) else None
    except Absent:
        return None


def _with_parts(cls: type) -> set[type]:
    """A config class and those of its parts, at every depth."""
    found, left = set[type](), [cls]
    while left:
        part = left.pop()
        if part not in found:
            found.add(part)
            left += [value for value in parts_of(part).values() if isinstance(value, type)]
    return found
