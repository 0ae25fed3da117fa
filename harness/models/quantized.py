"""Weights on a grid of a few bits: the noise floor of backends that compress weights.

Linear quantisation to the nearest point, one scale for a row or for a group of weights in it
(Nagel et al., A White Paper on Neural Network Quantization, 2021, section 2).
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


GRIDS: Mapping[str, Grid] = {"int8": Grid(8), "int4": Grid(4, group=16)}


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
                parameter.copy_(_rounded(groups, grid.bits).reshape(parameter.shape))


def _rounded(groups: Any, bits: int) -> Any:
    """Each row's values moved to the nearest of 2**bits points between its extremes."""
    low, high = groups.aminmax(dim=1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    step[step == 0] = 1.0  # a row of one value
    return ((groups - low) / step).round() * step + low
