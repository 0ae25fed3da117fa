"""Messages between the page and its server: a JSON header, and arrays as bytes.

A message is the length of the header (uint32, little-endian), the header, and the arrays, each at a
multiple of eight bytes; `page/page.mjs` is the other side.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.contract import Array

#: Arrays begin at multiples of so many bytes: the page looks at them where they lie.
ALIGNMENT = 8


def pack(header: Mapping[str, Any], parts: Sequence[bytes] = ()) -> bytes:
    """A message; the sizes of its parts go into the header."""
    text = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode()
    pieces = [struct.pack("<I", len(text)) + text, *parts]
    return b"".join(piece + bytes(-len(piece) % ALIGNMENT) for piece in pieces)


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The header of a message, and its parts.

    Raises:
        ValueError: the message is none, or ends too soon.
    """
    if len(message) < 4:
        raise ValueError(f"expected a message of the page, found {len(message)} bytes")
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    offset = _aligned(4 + length)
    parts = []
    for size in header["sizes"]:
        parts.append(message[offset : offset + size])
        if len(parts[-1]) < size:
            raise ValueError(f"expected {size} bytes at {offset}, found {len(parts[-1])}")
        offset = _aligned(offset + size)
    return header, parts


def described(name: str, array: Array) -> dict[str, Any]:
    """An array's name, dtype and shape, as the page makes a tensor of it."""
    return {"name": name, "type": str(array.dtype), "dims": list(array.shape)}


def array_of(about: Mapping[str, Any], data: bytes) -> Array:
    """The array that the page has described; a copy that can be written."""
    return np.frombuffer(data, np.dtype(about["type"])).reshape(about["dims"]).copy()


def _aligned(offset: int) -> int:
    return offset + -offset % ALIGNMENT
