"""Placeholder tokens, in whose place a model puts the features of an image, a video or a sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile


@dataclass(frozen=True, slots=True)
class Medium:
    """A table of `placeholders.toml`, which says what its keys mean."""

    extractor: str
    arguments: tuple[str, ...]
    ids: tuple[str, ...]
    companions: tuple[str, ...]
    fewer: str = ""


@cache
def media() -> Mapping[str, Medium]:
    """The tables of `placeholders.toml`: `image`, `video` and `audio`."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_tables(keys_of(Medium))
    return {name: Medium(**table) for name, table in source.tables.items()}


def feature_rows(features: Any) -> int:
    """How many vectors of features an extractor returned: a tensor, an output, or lists of them."""
    return sum(math.prod(tensor.shape[:-1]) for tensor in _tensors(features))


def _tensors(features: Any) -> list[Any]:
    import torch

    if isinstance(features, torch.Tensor):
        return [features]
    for name in ("pooler_output", "last_hidden_state"):
        found = getattr(features, name, None)
        if found is not None:
            return _tensors(found)
    if not isinstance(features, list | tuple) or not features:
        return []
    first = features[0]
    if len(features) == 2 and isinstance(features[1], list):
        return _tensors(first)  # features, and how many each image has
    if isinstance(first, list | tuple) or (isinstance(first, torch.Tensor) and first.ndim >= 2):
        return [t for f in features for t in _tensors(f) if t.is_floating_point()]
    return [t for t in features if isinstance(t, torch.Tensor) and t.is_floating_point()][:1]
