"""Operations of PyTorch in terms of others that OpenVINO's front end can convert.

Each computes what the operation of the same name computes, and
`tests/test_openvino_decompositions.py` holds it against that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch


def cat(tensors: Sequence[torch.Tensor], dim: int = 0, **rest: Any) -> torch.Tensor:
    """`torch.cat` without the empty one-dimensional tensors, which it passes over itself."""
    kept = [t for t in tensors if t.ndim != 1 or t.size(0) != 0]
    return torch.cat(kept or list(tensors), rest.pop("axis", dim), **rest)


def tensor(data: Any, **rest: Any) -> torch.Tensor:
    """`torch.tensor`, where a list of tensors is stacked, so that a trace follows their values."""
    if isinstance(data, list | tuple) and any(isinstance(item, torch.Tensor) for item in data):
        items = [
            item
            if isinstance(item, torch.Tensor)
            else torch.tensor(item, device=rest.get("device"))
            for item in data
        ]
        dtype = rest.get("dtype") or functools.reduce(
            torch.promote_types, (item.dtype for item in items)
        )
        return torch.stack([item.to(dtype) for item in items])
    return torch.tensor(data, **rest)


def unfold(self: torch.Tensor, dimension: int, size: int, step: int) -> torch.Tensor:
    """`Tensor.unfold`: windows of a dimension, gathered by their indices."""
    axis = dimension % self.ndim
    starts = torch.arange(0, self.shape[axis] - size + 1, step, device=self.device)
    index = starts[:, None] + torch.arange(size, device=self.device)
    windows = self.index_select(axis, index.flatten()).unflatten(axis, (-1, size))
    return windows.movedim(axis + 1, -1)


def getitem(self: torch.Tensor, index: Any) -> torch.Tensor:
    """`tensor[index]`, where a mask becomes the indices of what it selects."""
    if _is_mask(index):
        rows = self.flatten(0, index.ndim - 1) if index.ndim > 1 else self
        return rows.index_select(0, index.flatten().nonzero().flatten())
    return self[_without_masks(index)]


def setitem(self: torch.Tensor, index: Any, value: Any) -> None:
    """`tensor[index] = value`, without a mask beside other indices or under a broadcast value."""
    if _is_mask(index) and isinstance(value, torch.Tensor):
        free = self.ndim - index.ndim
        if value.ndim <= free:  # the same for every place that is selected
            mask = index.reshape(*index.shape, *[1] * free)
            self.copy_(torch.where(mask, value.to(self.dtype), self))
            return
    self[_without_masks(index)] = value


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype == torch.bool and index.ndim > 0


def _without_masks(index: Any) -> Any:
    """A tuple of indices with the indices of what each mask in it selects."""
    if not isinstance(index, tuple) or not any(_is_mask(part) for part in index):
        return index
    found: list[Any] = []
    for part in index:
        found += part.nonzero().unbind(1) if _is_mask(part) else [part]
    return tuple(found)


def scatter(
    self: torch.Tensor, dim: int, index: torch.Tensor, *given: Any, **named: Any
) -> torch.Tensor:
    """`Tensor.scatter`, where a truth value to scatter becomes a tensor of numbers."""
    value = named["value"] if "value" in named else named.get("src", given[0] if given else None)
    if not isinstance(value, bool) or "reduce" in named:
        return self.scatter(dim, index, *given, **named)
    numbers = self.to(torch.int32) if self.dtype == torch.bool else self
    source = torch.full_like(index, int(value), dtype=numbers.dtype)
    return numbers.scatter(dim, index, source).to(self.dtype)


def index_put(
    self: torch.Tensor,
    indices: Sequence[torch.Tensor],
    values: torch.Tensor,
    accumulate: bool = False,
) -> torch.Tensor:
    """`Tensor.index_put` by the operation that writes in place, on a copy."""
    return self.clone().index_put_(tuple(indices), values, accumulate)


def squeeze(self: torch.Tensor, *dims: Any, **named: Any) -> torch.Tensor:
    """`Tensor.squeeze` of the dimensions that are 1 in the example, by selecting in them."""
    asked = dims or tuple(named.values()) or tuple(range(self.ndim))
    flat = [d for group in asked for d in (group if isinstance(group, tuple | list) else (group,))]
    for axis in sorted({int(d) % max(1, self.ndim) for d in flat}, reverse=True):
        if self.ndim and int(self.shape[axis]) == 1:
            self = self.select(axis, 0)
    return self


def repeat_interleave(
    self: torch.Tensor, repeats: int | torch.Tensor, dim: int | None = None, **rest: Any
) -> torch.Tensor:
    """`Tensor.repeat_interleave`, where counts that differ become indices."""
    if not isinstance(repeats, torch.Tensor) or repeats.numel() == 1 or dim is None:
        return self.repeat_interleave(repeats, dim, **rest)
    ends = repeats.cumsum(0)
    places = torch.arange(ends[-1], device=self.device)
    return self.index_select(dim, (places[:, None] >= ends).sum(1))


def cummax(self: torch.Tensor, dim: int) -> Any:
    """`torch.cummax`: for each place, the largest of those up to it, and the last such place."""
    moved = self.movedim(dim, -1)
    places = torch.arange(moved.shape[-1], device=self.device)
    seen = places[:, None] >= places
    info = torch.finfo if moved.is_floating_point() else torch.iinfo
    pairs = moved.unsqueeze(-2).masked_fill(~seen, info(moved.dtype).min)
    values = pairs.amax(-1)
    last = torch.where((pairs == values.unsqueeze(-1)) & seen, places, -1).amax(-1)
    return torch.return_types.cummax([values.movedim(-1, dim), last.movedim(-1, dim)])


def cummin(self: torch.Tensor, dim: int) -> Any:
    """`torch.cummin`: for each place, the smallest of those up to it, and the last such place."""
    values, places = cummax(-self, dim)
    return torch.return_types.cummin([-values, places])


def isin(elements: torch.Tensor, test_elements: torch.Tensor, **rest: Any) -> torch.Tensor:
    """`torch.isin` of tensors: each element against each."""
    if any(rest.values()):
        return torch.isin(elements, test_elements, **rest)
    return (elements.unsqueeze(-1) == test_elements.flatten()).any(-1)


def conj(self: torch.Tensor) -> torch.Tensor:
    """`torch.conj`, from its parts."""
    return torch.complex(self.real, -self.imag) if self.is_complex() else self


def solve_triangular(
    matrix: torch.Tensor,
    right: torch.Tensor,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> torch.Tensor:
    """`torch.linalg.solve_triangular` by products alone.

    A triangular matrix is D (I - N) with a nilpotent N, and (I - N)^-1 is the finite product
    (I + N) (I + N^2) (I + N^4) ... (the Neumann series, by repeated squaring). The number of
    factors follows from the matrix's size, which a trace keeps.
    """
    if not left:
        flipped = solve_triangular(
            matrix.mT, right.mT, upper=not upper, unitriangular=unitriangular
        )
        return flipped.mT
    size = int(matrix.shape[-1])
    strict = matrix.triu(1) if upper else matrix.tril(-1)
    solution, nilpotent = right, -strict
    if not unitriangular:
        diagonal = matrix.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        solution, nilpotent = solution / diagonal, nilpotent / diagonal
    for _ in range(max(1, (size - 1).bit_length())):
        solution = solution + nilpotent @ solution
        nilpotent = nilpotent @ nilpotent
    return solution


def diff(
    x: torch.Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: torch.Tensor | None = None,
    append: torch.Tensor | None = None,
) -> torch.Tensor:
    """`torch.diff`: each value less the one before it, `n` times."""
    found = torch.cat([t for t in (prepend, x, append) if t is not None], dim)
    for _ in range(n):
        later, earlier = found.narrow(dim, 1, found.shape[dim] - 1), found.shape[dim] - 1
        found = later - found.narrow(dim, 0, earlier)
    return found


def nan_to_num(
    x: torch.Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> torch.Tensor:
    """`torch.nan_to_num`, by comparing: NaN is what does not equal itself."""
    if not x.is_floating_point():
        return x
    limits = torch.finfo(x.dtype)
    found = torch.where(x == x, x, 0.0 if nan is None else nan)
    highest = limits.max if posinf is None else posinf
    lowest = limits.min if neginf is None else neginf
    found = torch.where(found == float("inf"), highest, found)
    return torch.where(found == float("-inf"), lowest, found).to(x.dtype)


def mse_loss(
    x: torch.Tensor, target: torch.Tensor, *rest: Any, reduction: str = "mean", **named: Any
) -> torch.Tensor:
    """`torch.nn.functional.mse_loss`: the squares of the differences."""
    if rest or any(value is not None for value in named.values()):
        return torch.nn.functional.mse_loss(x, target, *rest, reduction=reduction, **named)
    squares = (x - target).square()
    reduce = {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}
    return reduce[reduction](squares)


def pad_sequence(
    sequences: Sequence[torch.Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> torch.Tensor:
    """`torch.nn.utils.rnn.pad_sequence`: sequences of different lengths in one tensor."""
    parts = list(sequences)
    longest = torch.stack([torch.tensor(part.shape[0]) for part in parts]).max()
    rows = []
    for part in parts:
        missing = part.new_full((longest - part.shape[0], *part.shape[1:]), padding_value)
        rows.append(torch.cat([part, missing] if padding_side == "right" else [missing, part]))
    return torch.stack(rows, 0 if batch_first else 1)


def new_full(self: torch.Tensor, size: Sequence[int], fill_value: Any, **rest: Any) -> torch.Tensor:
    """`Tensor.new_full` by `torch.full`."""
    given = {"dtype": self.dtype, "device": self.device} | {
        name: value for name, value in rest.items() if value is not None
    }
    return torch.full(tuple(size), fill_value, **given)


def full_like(x: torch.Tensor, fill_value: Any, **rest: Any) -> torch.Tensor:
    """`torch.full_like`, where a truth value becomes a number."""
    number = int(fill_value) if isinstance(fill_value, bool) else fill_value
    return torch.full_like(x, number, **{"dtype": x.dtype} | rest)


def avg_pool2d(
    x: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *rest: Any,
    **named: Any,
) -> torch.Tensor:
    """`torch.nn.functional.avg_pool2d`, where a window wider than the picture is its mean."""
    high, wide = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    ceil_mode = rest[0] if rest else named.get("ceil_mode", False)
    covers = int(x.shape[-2]) <= high and int(x.shape[-1]) <= wide
    if covers and ceil_mode and padding in (0, (0, 0)) and rest[2:] in ((), (None,)):
        return x.mean((-2, -1), keepdim=True)
    pool: Any = torch.nn.functional.avg_pool2d
    found: torch.Tensor = pool(x, kernel_size, stride, padding, *rest, **named)
    return found


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *rest: Any,
    **named: Any,
) -> torch.Tensor:
    """The function of that name, where a query that sees nothing gives the mean of all values.

    That is what transformers' eager attention gives, which adds the lowest number of the dtype;
    PyTorch's own gives zeros. OpenVINO's gives NaN, which the next layer spreads over the row.
    """
    attention = torch.nn.functional.scaled_dot_product_attention
    if attn_mask is None or attn_mask.dtype != torch.bool:
        return attention(query, key, value, attn_mask, *rest, **named)
    lowest = torch.finfo(query.dtype).min
    bias = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, lowest)
    return attention(query, key, value, bias, *rest, **named)
