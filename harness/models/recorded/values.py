"""Seeded data of a recorded checkpoint, which follows from names, dtypes and shapes alone.

The rule is part of what was recorded, since outputs that follow from it are kept. It knows nothing
of the module, which may be another one in each version; `harness.models.weights` looks at it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.models.recorded.names import TensorSpec
from harness.toolkit.seeded_values import uniform

#: Embeddings have values of order 1; `wte` is GPT-2's.
_EMBEDDING = re.compile(r"embed|shared\.|wte|wpe")
#: Vectors around 0: biases, `beta` of BERT's oldest norms, means of batch norms.
_AROUND_ZERO = re.compile(r"bias|beta$|running_mean$")

_INTEGERS: Mapping[str, Any] = {
    "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8, "u8": np.uint8,
    "bool": np.bool_,
}  # fmt: skip


def tensors(specs: Mapping[str, TensorSpec]) -> Arrays:
    """The tensors of a checkpoint by name, floating ones as float32.

    Floats are exact in float16, so that a checkpoint saved in 16 bits gives the same outputs.

    Args:
        specs: dtype and shape by name.
    """
    return {name: _tensor(name, spec) for name, spec in specs.items()}


def counts_up(array: Array) -> bool:
    """Whether integers count up along the last axis, as position ids do, or are a single 0."""
    return bool(np.array_equal(array, _counted(array.shape)))


def _tensor(name: str, spec: TensorSpec) -> Array:
    if spec.dtype in _INTEGERS:
        return _counted(spec.shape).astype(_INTEGERS[spec.dtype])
    unit = uniform(0, name, spec.shape)
    if len(spec.shape) < 2:
        middle = 0.0 if _AROUND_ZERO.search(name) else 1.0
        values = np.float32(middle) + np.float32(0.1) * unit
    elif len(spec.shape) == 2 and _EMBEDDING.search(name):
        values = unit
    else:
        values = unit * np.float32(math.sqrt(3.0 / max(1, math.prod(spec.shape[1:]))))
    return np.asarray(values, dtype=np.float16).astype(np.float32)


def _counted(shape: tuple[int, ...]) -> Array:
    if not shape:
        return np.zeros((), dtype=np.int64)
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int64), shape).copy()
