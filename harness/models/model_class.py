"""Model classes of this environment's transformers, by architecture and head."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from harness.catalog import heads
from harness.contract import BASE, Absent
from harness.models import retriever
from harness.models.config_classes import config_class, parts_of
from harness.models.forward_methods import forward_methods, with_forward

#: Where an architecture has no headless model, its first head in this order stands for it.
_FALLBACKS = (
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES",
    "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "MODEL_FOR_KEYPOINT_DETECTION_MAPPING_NAMES",
    "MODEL_FOR_KEYPOINT_MATCHING_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_MATTING_MAPPING_NAMES",
    "MODEL_FOR_POSE_ESTIMATION_MAPPING_NAMES",
    "MODEL_FOR_BACKBONE_MAPPING_NAMES",
)


@cache
def mappings() -> Mapping[str, Mapping[str, Any]]:
    """Every `..._MAPPING_NAMES` of transformers: model type -> class name or names."""
    from transformers.models.auto import modeling_auto

    return {
        name: getattr(modeling_auto, name)
        for name in dir(modeling_auto)
        if name.endswith("_MAPPING_NAMES")
    }


def of(architecture: str, head: str = BASE) -> type:
    """The model class of a cell: the headless model, or the one with a task's head.

    Raises:
        Absent: no such class.
    """
    if head == BASE:
        return base_class(architecture)
    cls = head_class(architecture, head)
    return retriever.retrieving(cls) if hasattr(cls, "set_retriever") else cls


def head_class(architecture: str, head: str) -> type:
    """The class that stands on an architecture for a task of `harness/catalog/heads.toml`.

    Raises:
        Absent: this environment's transformers has none.
    """
    import transformers

    row = heads.known_heads()[head]
    for mapping in row.mappings:
        cls = _mapped(f"MODEL_FOR_{mapping}_MAPPING_NAMES", architecture)
        if cls is not None:
            return cls
    stem = config_class(architecture).__name__.removesuffix("Config")
    for ending in row.classes:
        cls = getattr(transformers, stem + ending, None)
        if cls is not None:
            return cls  # type: ignore[no-any-return]
    raise Absent(
        f"transformers {transformers.__version__} has no class for {head} on {architecture!r}"
    )


def base_class(architecture: str) -> type:
    """The headless model of a model type, or what stands for it where there is none.

    Raises:
        Absent: no model class.
    """
    import transformers

    rest = sorted(name for name in mappings() if name.startswith("MODEL_"))
    for mapping in ("MODEL_MAPPING_NAMES", *_FALLBACKS, *rest):
        cls = _mapped(mapping, architecture)
        if cls is not None and not _is_part(cls, config_class(architecture)):
            method = forward_methods().get(architecture)
            return cls if method is None else with_forward(cls, method)
    # RAG and its like are in no mapping; their config's name says the model's.
    config = config_class(architecture)
    cls = getattr(transformers, config.__name__.replace("Config", "Model"), None)
    cls = cls or _first_exported(config)
    if cls is not None:
        return cls
    raise Absent(f"transformers {transformers.__version__} has no model class for {architecture!r}")


def _mapped(mapping: str, architecture: str) -> type | None:
    """The first class of a model type in a mapping, exported or only in its modeling module."""
    import transformers

    found = mappings().get(mapping, {}).get(architecture)
    if found is None:
        return None
    name = found if isinstance(found, str) else found[0]
    cls: type | None = getattr(transformers, name, None)
    if cls is None:
        with suppress(ImportError):
            cls = getattr(_modeling_module(architecture), name, None)
    return cls


def _is_part(model: type, config: type) -> bool:
    """Whether a model is built from one sub-config of a composite, not from all of it."""
    own = getattr(model, "config_class", None)
    parts = parts_of(config).values()
    return own is not None and own in parts and not issubclass(config, own)


def _first_exported(config: type) -> type | None:
    """The first model that takes the config, of those in its modeling module that are exported."""
    import transformers

    module = importlib.import_module(config.__module__.replace(".configuration_", ".modeling_"))
    for name, cls in vars(module).items():
        if (
            getattr(cls, "config_class", None) is config
            and cls.__module__ == module.__name__
            and not name.endswith("PreTrainedModel")
            and hasattr(transformers, name)
        ):
            return cls  # type: ignore[no-any-return]
    return None


def preload(architecture: str) -> None:
    """Import the modeling code of a model type; raises what the import raises."""
    _modeling_module(architecture)


def _modeling_module(architecture: str) -> ModuleType:
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = model_type_to_module_name(architecture)
    return importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
