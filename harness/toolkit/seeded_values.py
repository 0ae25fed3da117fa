"""Seeded values: numbers that follow from (seed, name, shape) alone, on every machine and version.

Raw Philox bits become uniform float32 by exact arithmetic: numpy promises the bit stream of a bit
generator, but not the stream of `Generator.normal` (NEP 19).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Float32 values in [-1, 1), multiples of 2**-23, that follow from the arguments alone."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{shape}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    count = math.prod(shape)
    raw = np.random.Philox(key=key).random_raw((count + 1) // 2)
    halves = raw.astype("<u8", copy=False).view("<u4")[:count]
    steps = (halves >> np.uint32(8)).astype(np.float32)  # 24 bits: exact in float32
    return (steps * np.float32(2.0**-23) - np.float32(1.0)).reshape(shape)


def integers(
    seed: int, name: str, shape: tuple[int, ...], low: int, high: int
) -> NDArray[np.int64]:
    """Int64 values in [low, high) that follow from the arguments alone."""
    unit = (uniform(seed, name, shape).astype(np.float64) + 1.0) / 2.0
    return (low + np.floor(unit * (high - low))).astype(np.int64)
