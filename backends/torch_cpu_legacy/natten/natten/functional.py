"""The two functions of natten 0.14 that NAT and DiNAT call, by gathering every neighborhood.

Neighborhood Attention Transformer (Hassani et al., 2023, arXiv 2204.07143) and Dilated
Neighborhood Attention Transformer (Hassani and Shi, 2022, arXiv 2209.15001).
"""

from __future__ import annotations

import torch
from torch import Tensor


def window(length: int, kernel_size: int, dilation: int) -> tuple[Tensor, Tensor]:
    """The neighbors of every position of one axis, and where their biases stand.

    Positions that are equal modulo `dilation` form a line of their own. A position attends to the
    `kernel_size` of its line that lie around it, moved inwards at the ends so that there are
    always as many.

    Args:
        length: of the axis.
        kernel_size: odd.
        dilation: 1 for plain neighborhoods.

    Returns:
        Neighbors and bias indices, both (length, kernel_size): the latter count from the farthest
        neighbor before a position, which is 0, over the position itself, `kernel_size - 1`.

    Raises:
        ValueError: a line is shorter than the kernel, or the kernel is even.
    """
    if kernel_size % 2 == 0 or length < kernel_size * dilation:
        raise ValueError(
            f"natten expected an odd kernel with kernel_size * dilation <= {length}, the length of "
            f"the axis, found kernel_size={kernel_size}, dilation={dilation}"
        )
    position = torch.arange(length)
    line, rank = position % dilation, position // dilation
    members = torch.div(length - line + dilation - 1, dilation, rounding_mode="floor")
    first = (rank - kernel_size // 2).clamp_min(0).minimum(members - kernel_size)
    ranks = first[:, None] + torch.arange(kernel_size)
    return line[:, None] + ranks * dilation, ranks - rank[:, None] + kernel_size - 1


def natten2dqkrpb(
    query: Tensor, key: Tensor, rpb: Tensor, kernel_size: int, dilation: int
) -> Tensor:
    """Scores of every pixel against its neighborhood, with relative positional biases.

    Args:
        query: (batch, heads, height, width, size), scaled already.
        key: of the same shape.
        rpb: (heads, 2 * kernel_size - 1, 2 * kernel_size - 1).
        kernel_size: of the neighborhood's sides.
        dilation: distance of neighbors.

    Returns:
        (batch, heads, height, width, kernel_size**2)
    """
    height, width = query.shape[2:4]
    _, rows = window(height, kernel_size, dilation)
    _, columns = window(width, kernel_size, dilation)
    bias = rpb[:, rows[:, None, :, None], columns[None, :, None, :]].flatten(-2)
    scores = torch.einsum("bhxyd,bhxynd->bhxyn", query, _neighbors(key, kernel_size, dilation))
    return scores + bias


def natten2dav(attention: Tensor, value: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """The mean of every pixel's neighborhood, weighted by attention.

    Args:
        attention: (batch, heads, height, width, kernel_size**2)
        value: (batch, heads, height, width, size)
        kernel_size: of the neighborhood's sides.
        dilation: distance of neighbors.

    Returns:
        (batch, heads, height, width, size)
    """
    neighbors = _neighbors(value, kernel_size, dilation)
    return torch.einsum("bhxyn,bhxynd->bhxyd", attention, neighbors)


def _neighbors(x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Every pixel's neighborhood: (batch, heads, height, width, kernel_size**2, size)."""
    rows, _ = window(x.shape[2], kernel_size, dilation)
    columns, _ = window(x.shape[3], kernel_size, dilation)
    return x[:, :, rows[:, None, :, None], columns[None, :, None, :]].flatten(4, 5)
