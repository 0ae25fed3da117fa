"""Config classes of transformers: of a model type, and of a composite's parts."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contract import Absent


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
        ) from None
    return found


def parts_of(cls: type) -> Mapping[str, type]:
    """The config classes of a composite's parts; older ones know them of an instance only."""
    found = getattr(cls, "sub_configs", None)
    return found if isinstance(found, Mapping) else {}
