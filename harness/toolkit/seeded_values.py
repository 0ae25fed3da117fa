"""Seeded values: arrays that follow from a seed, a name and a shape, whatever else was drawn.

Values come from numpy's Philox bit generator, whose bit stream numpy promises to keep
(numpy.org/neps/nep-0019-rng-policy.html). It counts blocks of random bits (Salmon et al., Parallel
random numbers: as easy as 1, 2, 3, SC 2011), so that any part of an array is made without the parts
before it, on any number of threads.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

#: Values that are made at once, 256 kB of float32: with their random bits they fit into a core's
#: cache. A multiple of the 8 halves of 64 bits that each count of Philox gives.
BLOCK = 1 << 16

#: Values above which several threads share an array.
LARGE = 16 * BLOCK

#: Takes the index of the first of some values, and the values.
Write = Callable[[int, NDArray[np.float32]], None]


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Float32 values in [-1, 1), multiples of 2**-23, that follow from the arguments alone."""
    made = np.empty(math.prod(shape), np.float32)

    def write(start: int, values: NDArray[np.float32]) -> None:
        made[start : start + values.size] = values

    write_uniform(seed, name, shape, write)
    return made.reshape(shape)


def write_uniform(seed: int, name: str, shape: tuple[int, ...], write: Write) -> None:
    """The values of `uniform` in blocks, of which no more than one a thread is in memory.

    Args:
        seed: of the values.
        name: of the array.
        shape: of the array.
        write: takes each block, which is overwritten afterwards; called on several threads.
    """
    digest = hashlib.sha256(f"{seed}\0{name}\0{shape}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    count = math.prod(shape)

    def make(first: int, last: int) -> None:
        generator = np.random.Philox(key=key, counter=first // 8)
        bits = np.empty(min(BLOCK, last - first), np.uint32)
        values = np.empty(bits.size, np.float32)
        for start in range(first, last, BLOCK):
            size = min(BLOCK, last - start)
            raw = generator.random_raw((size + 1) // 2).astype("<u8", copy=False)
            np.right_shift(raw.view("<u4")[:size], 8, out=bits[:size])
            block = values[:size]
            block[...] = bits[:size]  # 24 bits: exact in float32
            block *= np.float32(2.0**-23)
            block -= np.float32(1.0)
            write(start, block)

    workers = threads()
    if count < LARGE or workers == 1:
        make(0, count)
        return
    share = -(-count // (workers * BLOCK)) * BLOCK
    with ThreadPoolExecutor(workers) as pool:
        parts = range(0, count, share)
        for done in [pool.submit(make, first, min(count, first + share)) for first in parts]:
            done.result()


def threads() -> int:
    """Threads that this process may compute on: as many as numerical libraries, else its cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def integers(
    seed: int, name: str, shape: tuple[int, ...], low: int, high: int
) -> NDArray[np.int64]:
    """Int64 values in [low, high) that follow from the arguments alone."""
    unit = (uniform(seed, name, shape).astype(np.float64) + 1.0) / 2.0
    return (low + np.floor(unit * (high - low))).astype(np.int64)
