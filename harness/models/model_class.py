"""Which model class an architecture name stands for, in this environment's transformers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from harness.catalog import heads
from harness.contract import BASE, Absent
from harness.models import retriever
from harness.models.config_classes import config_class, parts_of

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

    row = heads.known()[head]
    for mapping in row.mappings:
        found = mappings().get(f"MODEL_FOR_{mapping}_MAPPING_NAMES", {}).get(architecture)
        if found is not None:
            name = found if isinstance(found, str) else found[0]
            cls = getattr(transformers, name, None) or _from_module(architecture, name)
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

    known = mappings()
    rest = sorted(name for name in known if name.startswith("MODEL_"))
    for mapping in ("MODEL_MAPPING_NAMES", *_FALLBACKS, *rest):
        found = known.get(mapping, {}).get(architecture)
        if found is not None:
            name = found if isinstance(found, str) else found[0]
            cls = getattr(transformers, name, None) or _from_module(architecture, name)
            if cls is not None and not _is_part(cls, config_class(architecture)):
                call = calls().get(architecture)
                return cls if call is None else _calling(cls, call)
    # RAG and its like are in no mapping; their config's name says the model's.
    config = config_class(architecture)
    cls = getattr(transformers, config.__name__.replace("Config", "Model"), None)
    cls = cls or _first_exported(config)
    if cls is not None:
        return cls
    raise Absent(f"transformers {transformers.__version__} has no model class for {architecture!r}")


@cache
def calls() -> Mapping[str, str]:
    """What is called in the place of `forward`, by model type: the rows of `calls.toml`."""
    tables = tomllib.loads((Path(__file__).parent / "calls.toml").read_text(encoding="utf-8"))
    return {name: table["call"] for name, table in tables.items()}


def _calling(cls: type, call: str) -> type:
    """The same model, whose forward is another attribute of it."""
    forward = property(attrgetter(call))
    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})


def _is_part(model: type, config: type) -> bool:
    """Whether a model is built from one sub-config of a composite, not from all of it."""
    own = getattr(model, "config_class", None)
    parts = parts_of(config).values()
    return own is not None and own in parts and not issubclass(config, own)


def _from_module(architecture: str, name: str) -> type | None:
    """A class that its modeling module has, but that the package's top level does not export."""
    import importlib

    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = model_type_to_module_name(architecture)
    try:
        module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    except ImportError:
        return None
    return getattr(module, name, None)


def _first_exported(config: type) -> type | None:
    """The first model that takes the config, of those in its modeling module that are exported."""
    import importlib

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
    import importlib

    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = model_type_to_module_name(architecture)
    importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
