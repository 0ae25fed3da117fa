"""Weights on a grid of a few bits: the noise floor of backends that compress weights.

Linear quantisation to the nearest point, one scale for a row or for a group of weights in it
(Nagel et al., A White Paper on Neural Network Quantization, 2021, section 2); in `mxfp4`, 4-bit
floats of which a group shares a power of two as its scale (Open Compute Project, Microscaling
Formats (MX) Specification 1.0, 2023, section 6.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Grid:
    """Bits of a weight, and how many neighbours in a row share a scale (0: all of the row)."""

    bits: int
    group: int = 0
    floating: bool = False  # the points are 4-bit floats (E2M1), not equally far apart


GRIDS: Mapping[str, Grid] = {
    "int8": Grid(8),
    "int4": Grid(4, group=16),
    "mxfp4": Grid(4, group=32, floating=True),
}

#: The magnitudes of a 4-bit float, E2M1, and the exponent of its largest one.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1_EXPONENT = 2


def quantize(module: Any, name: str) -> None:
    """Move every matrix of a torch module onto the grid, in place; vectors stay.

    Args:
        module: its floating parameters of two and more dimensions are rounded.
        name: of one of `GRIDS`.
    """
    import torch

    grid = GRIDS[name]
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim >= 2 and parameter.is_floating_point() and parameter.numel():
                rows = parameter.reshape(parameter.shape[0], -1)
                width = grid.group if grid.group and rows.shape[1] % grid.group == 0 else 0
                groups = rows.reshape(-1, width or rows.shape[1])
                moved = _microscaled(groups) if grid.floating else _rounded(groups, grid.bits)
                parameter.copy_(moved.reshape(parameter.shape))


def _rounded(groups: Any, bits: int) -> Any:
    """Each row's values moved to the nearest of 2**bits points between its extremes."""
    low, high = groups.aminmax(dim=1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    step[step == 0] = 1.0  # a row of one value
    return ((groups - low) / step).round() * step + low


def _microscaled(groups: Any) -> Any:
    """Each row's values moved to the nearest 4-bit float, in units of the row's power of two."""
    import torch

    largest = groups.abs().amax(dim=1, keepdim=True)
    exponent = largest.where(largest > 0, 1.0).log2().floor() - E2M1_EXPONENT
    unit = torch.exp2(exponent)
    points = torch.tensor(E2M1, dtype=groups.dtype)
    between = (points[1:] + points[:-1]) / 2
    nearest = points[torch.bucketize((groups / unit).abs(), between)]
    return nearest * groups.sign() * unit
