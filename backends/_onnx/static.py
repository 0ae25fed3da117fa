"""Operations whose result has a size that depends on data, as equal ones of static size.

In force while a module is exported. The harness compares the graph with the plain module, so that
a wrong replacement is a failed check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

#: Leaves out transformers' own checks of values, which only a run can make.
NO_CHECKS = {"TRANSFORMERS_DISABLE_TORCH_CHECK": "1"}


@contextmanager
def static_shapes() -> Iterator[None]:
    """The replacements in force."""
    with mock.patch.dict(os.environ, NO_CHECKS), _Replace():
        yield


class _Replace(TorchFunctionMode):
    """Calls the replacement of a function where there is one that takes the arguments."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        replacement = REPLACEMENTS.get(func)
        if replacement is not None:
            found = replacement(*args, **given)
            if found is not NotImplemented:
                return found
        return func(*args, **given)


def _masked_scatter(x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The k-th true element takes the k-th value: an index by counting, and a choice.

    Where whole rows are true or not, which is how images take the place of their tokens, rows are
    counted.
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
    if not (isinstance(index, torch.Tensor) and index.dtype == torch.bool):
        return NotImplemented
    mask = index.reshape(*index.shape, *(1,) * (x.ndim - index.ndim))
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        each = value.ndim > 0 and value.shape[0] != 1 and value.shape[1:] == x.shape[index.ndim :]
        if not each:  # it is broadcast
            return NotImplemented
        x.copy_(_masked_scatter(x, mask, value))
    elif isinstance(value, torch.Tensor):
        x.copy_(torch.where(mask, value.to(x.dtype).reshape(()), x))
    else:
        x.masked_fill_(mask, value)
    return None


REPLACEMENTS: Mapping[Any, Callable[..., Any]] = {
    torch.Tensor.masked_scatter: _masked_scatter,
    torch.masked_scatter: _masked_scatter,
    torch.Tensor.masked_scatter_: _masked_scatter_,
    torch.Tensor.__setitem__: _set_item,
}
