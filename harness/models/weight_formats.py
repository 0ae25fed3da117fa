"""Weight formats: the bytes that a model's weights take as each dtype or grid of few bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.models.quantized import GRIDS


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are stored.

    Attributes:
        dtype: of vectors, buffers, activations and caches, by PyTorch's name.
        bits: of a weight in a matrix; 0 where it has that dtype too.
        group: weights of a row that share a scale; 0 for all of the row.
        scale_bits: of that scale.
    """

    dtype: str
    bits: int = 0
    group: int = 0
    scale_bits: int = 0

    def bytes_of(self, shape: Iterable[int], itemsize: int) -> int:
        """The bytes of one floating parameter, its scales included.

        Args:
            shape: of the parameter.
            itemsize: bytes of a number in `dtype`.
        """
        sizes = tuple(shape)
        count = math.prod(sizes)
        if not self.bits or len(sizes) < 2 or not count:
            return count * itemsize
        width = math.prod(sizes[1:])
        group = self.group if self.group and width % self.group == 0 else width
        return math.ceil(count * self.bits / 8) + count // group * math.ceil(self.scale_bits / 8)


#: By the name that a command line gives; compressed matrices are computed with in bfloat16.
FORMATS: Mapping[str, WeightFormat] = {
    "bf16": WeightFormat("bfloat16"),
    "f16": WeightFormat("float16"),
    "f32": WeightFormat("float32"),
    "f64": WeightFormat("float64"),
    "f8": WeightFormat("bfloat16", 8, scale_bits=16),
    **{
        name: WeightFormat("bfloat16", grid.bits, grid.group, 8 if grid.floating else 16)
        for name, grid in GRIDS.items()
    },
}


def weight_bytes(module: Any, chosen: WeightFormat) -> int:
    """The bytes of a torch module's parameters in a format, tied ones once.

    Args:
        module: on any device, already in the format's dtype.
        chosen: the format.
    """
    return sum(
        chosen.bytes_of(parameter.shape, parameter.element_size())
        if parameter.is_floating_point()
        else parameter.numel() * parameter.element_size()
        for parameter in module.parameters()
    )


def buffer_bytes(module: Any) -> int:
    """The bytes of a torch module's buffers, those that no checkpoint has included."""
    return sum(buffer.numel() * buffer.element_size() for buffer in module.buffers())
