"""Arrays by name as bytes: an index in JSON, then their values as they lie in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from harness.contract import Array, Arrays


class Unpackable(ValueError):
    """An array whose values are Python objects."""


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Arrays in one piece; `unpack` gives the same ones, of the same dtypes and shapes.

    Raises:
        Unpackable: one of them holds Python objects, which only pickle could write.
    """
    index, values = [], []
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise Unpackable(f"expected numbers in {name!r}, found {array.dtype}")
        index.append([name, array.dtype.str, array.shape])
        values.append(np.ascontiguousarray(array).tobytes())
    return b"".join([json.dumps(index).encode(), b"\n", *values])


def unpack(data: bytes) -> Arrays:
    """The arrays of `pack`, each with memory of its own.

    Raises:
        ValueError: the bytes are none that `pack` wrote.
    """
    line, _, values = data.partition(b"\n")
    found, start = {}, 0
    for name, dtype, shape in json.loads(line):
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(values, kind, size, start).reshape(shape).copy()
        start += size * kind.itemsize
    return found
