"""Replacements of data-dependent operations by equal ones with static shapes.

LLaVA, say, puts image features in the place of image tokens with `masked_scatter`; how many there
are is a value, and an exporter has none. Comparisons and choices of static shapes do the same while
a module is exported. The harness compares the graph with the plain module, so that a wrong
replacement is a failed check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from backends._shared.onnx.function_mode import FunctionMode
from backends._shared.onnx.recorded_values import leading_mask

#: Switches off transformers' own checks of values, which an export cannot make.
NO_CHECKS = {"TRANSFORMERS_DISABLE_TORCH_CHECK": "1"}


@contextmanager
def static_shapes() -> Iterator[None]:
    """A context in which the replacements are in force."""
    with mock.patch.dict(os.environ, NO_CHECKS), _ReplacementMode():
        yield


class _ReplacementMode(FunctionMode):
    """A function mode that calls the replacement of a function, if that takes the arguments."""

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The replacement's result; the function's own where no replacement takes the arguments."""
        replacement = REPLACEMENTS.get(func)
        if replacement is not None:
            found = replacement(*args, **given)
            if found is not NotImplemented:
                return found
        return func(*args, **given)


def _masked_scatter(x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """`masked_scatter`: an index by counting, since the k-th true element takes the k-th value.

    Where whole rows are true or false, as where images take the place of their tokens, rows are
    counted instead of elements.
    """
    whole = mask.expand_as(x)
    width = x.shape[-1] if x.ndim > 1 and whole.stride(-1) == 0 else 1
    rows = (whole[..., 0] if width > 1 else whole).reshape(-1)
    values = source.reshape(-1, width)
    index = (torch.cumsum(rows.to(torch.int64), 0) - 1).clamp(0, values.shape[0] - 1)
    return torch.where(rows[:, None], values[index].to(x.dtype), x.reshape(-1, width)).reshape(
        x.shape
    )


def _masked_scatter_(x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return x.copy_(_masked_scatter(x, mask, source))


def _set_item(x: torch.Tensor, index: Any, value: Any) -> Any:
    """`x[mask] = value` as a choice: for one value, or for one of each true element."""
    chosen = leading_mask(index)
    if chosen is None:
        return NotImplemented
    mask = chosen.reshape(*chosen.shape, *(1,) * (x.ndim - chosen.ndim))
    if not isinstance(value, torch.Tensor):
        x.masked_fill_(mask, value)
        return None
    row = x.ndim - chosen.ndim
    if value.ndim == row + 1 and value.shape[0] == 1:
        value = value[0]
    if value.ndim <= row:  # the same for each true element
        x.copy_(torch.where(mask, value.to(x.dtype), x))
    elif value.shape[1:] == x.shape[chosen.ndim :]:
        x.copy_(_masked_scatter(x, mask, value))
    else:
        return NotImplemented
    return None


def _scatter(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Any:
    """`scatter` along a dimension: each place is compared with all indices and takes its value.

    No two indices may name one place: PyTorch leaves open which one counts, here they are added.
    """
    dim %= x.ndim
    along = (*x.shape[:dim], *x.shape[dim + 1 :])
    if reduce is not None or (*index.shape[:dim], *index.shape[dim + 1 :]) != along:
        return NotImplemented
    named = index.movedim(dim, -1)[..., None] == torch.arange(x.shape[dim])
    hit = named.any(-2).movedim(-1, dim)
    given = torch.as_tensor(value if src is None else src, dtype=x.dtype)
    if given.ndim:
        given = given[tuple(slice(size) for size in index.shape)].movedim(dim, -1)[..., None]
        given = torch.where(named, given, torch.zeros((), dtype=given.dtype))
        given = given.sum(-2, dtype=given.dtype).movedim(-1, dim)
    # ONNX Runtime has no Where of truth values.
    return (hit & given) | (~hit & x) if x.dtype == torch.bool else torch.where(hit, given, x)


def _scatter_(x: torch.Tensor, *args: Any, **named: Any) -> Any:
    found = _scatter(x, *args, **named)
    return found if found is NotImplemented else x.copy_(found)


REPLACEMENTS: Mapping[Any, Callable[..., Any]] = {
    torch.Tensor.masked_scatter: _masked_scatter,
    torch.masked_scatter: _masked_scatter,
    torch.Tensor.masked_scatter_: _masked_scatter_,
    torch.Tensor.__setitem__: _set_item,
    torch.Tensor.scatter: _scatter,
    torch.scatter: _scatter,
    torch.Tensor.scatter_: _scatter_,
}
