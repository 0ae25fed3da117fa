"""Keys of the inputs that an architecture's own processors send to its model."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

#: Modules of transformers' auto classes, with their tables of class names by architecture.
TABLES = (
    ("processing_auto", "PROCESSOR_MAPPING_NAMES"),
    ("image_processing_auto", "IMAGE_PROCESSOR_MAPPING_NAMES"),
    ("video_processing_auto", "VIDEO_PROCESSOR_MAPPING_NAMES"),
    ("feature_extraction_auto", "FEATURE_EXTRACTOR_MAPPING_NAMES"),
    ("tokenization_auto", "TOKENIZER_MAPPING_NAMES"),
)


def sent(architecture: str) -> frozenset[str]:
    """The keys that processors of an architecture of transformers send, as far as is known.

    Those that their classes declare as `model_input_names`, and those that image processors and
    feature extractors with their default settings make of a random image or recording. Nothing
    is downloaded: a tokenizer, which needs a vocabulary, is asked for what it declares alone.
    """
    found: set[str] = set()
    for cls in _classes(architecture):
        found.update(_declared(cls))
        with suppress(Exception):  # of a class that is not to be made without a file
            found.update(_made(cls))
    return frozenset(found)


def _classes(architecture: str) -> Iterator[Any]:
    import transformers

    for module, table in TABLES:
        auto = importlib.import_module(f"transformers.models.auto.{module}")
        for name in _names(getattr(auto, table, {}).get(architecture)):
            with suppress(Exception):  # a package that the class needs and that is not installed
                yield getattr(transformers, name)


def _names(value: Any) -> list[str]:
    values = list(value.values()) if isinstance(value, dict) else value
    values = [values] if isinstance(values, str) else values or ()
    return [name for name in values if isinstance(name, str)]


def _declared(cls: Any) -> Iterable[str]:
    names = inspect.getattr_static(cls, "model_input_names", ())
    if isinstance(names, property):  # of several processors together: what its code adds to them
        return re.findall(r'"([a-z_]+)"', inspect.getsource(names.fget)) if names.fget else ()
    return [name for name in names if isinstance(name, str)]


def _made(cls: Any) -> Iterable[str]:
    kind = cls.__name__
    random = np.random.default_rng(0)
    if "VideoProcessor" in kind:
        return list(cls()([random.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)]))
    if "ImageProcessor" in kind:
        return list(cls()(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)))
    if "FeatureExtractor" in kind:
        extractor = cls()
        sound = random.standard_normal(extractor.sampling_rate).astype(np.float32)
        return list(extractor(sound, sampling_rate=extractor.sampling_rate))
    return ()
