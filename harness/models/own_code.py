"""Modeling code in a checkpoint: the classes that `auto_map` names, run where it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.catalog import heads
from harness.contract import BASE, Absent, HarnessError
from harness.models import checkpoint, config_classes


def auto_class(folder: Path, head: str, *, trusted: bool) -> Any:
    """The auto class that builds a checkpoint of a model type that only its own code knows.

    A model type that transformers has is built by transformers, whatever `auto_map` says.

    Args:
        folder: of the checkpoint's files.
        head: `base`, or a task of `harness/catalog/heads.toml`.
        trusted: whether that code may run.

    Returns:
        None for a checkpoint without code of its own, or of a known model type.

    Raises:
        Absent: its code has no class for the head.
        HarnessError: it is not trusted.
    """
    import transformers

    config = checkpoint.config_of(folder)
    named, said = config.get("auto_map"), config.get("model_type")
    if not isinstance(named, dict) or _is_known(said):
        return None
    if not trusted:
        files = sorted({str(value).partition(".")[0] + ".py" for value in named.values()})
        raise HarnessError(
            f"expected model_type {said!r} to be one of transformers {transformers.__version__}, "
            f"found it in the checkpoint's own code alone ({', '.join(files)}; config.json in "
            f"{folder}). Fix: read that code; where you trust it, --trust-remote-code"
        )
    for name in named:
        cls = getattr(transformers, name, None)
        if cls is not None and name.startswith("AutoModel") and _stands_for(cls, head):
            return cls
    raise Absent(f"the code of the checkpoint has no class for {head}: it names {', '.join(named)}")


def _is_known(model_type: Any) -> bool:
    try:
        config_classes.config_class(model_type)
    except (Absent, TypeError):
        return False
    return True


def _stands_for(cls: Any, head: str) -> bool:
    """Whether an auto class of transformers is for a head."""
    from transformers.models.auto import modeling_auto

    wanted = (
        ["MODEL"]
        if head == BASE
        else [f"MODEL_FOR_{m}" for m in heads.known_heads()[head].mappings]
    )
    mappings = [getattr(modeling_auto, f"{name}_MAPPING", None) for name in wanted]
    return any(cls._model_mapping is mapping for mapping in mappings if mapping is not None)
