"""Record and replay of the values that a module reads from its tensors.

An exporter sees tensors without values, and stops where Python reads one: a size, a truth value,
the rows that a mask selects. `Recording` notes, for each line of code, the values that the line
reads in one plain run. `Replay` gives the line these values again while the module is exported, and
finds as many rows of a mask as there were, by counting. The graph is right for every input on which
Python reads the same values; the harness compares the graph on other inputs, so that a wrong graph
is a failed check.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backends._shared.onnx.function_mode import FunctionMode

#: Line of code, as (file, number) -> the values that the line read, in order.
Answers = Mapping[tuple[str, int], Sequence[Any]]

#: Gives the recorded number of selected elements; each call takes one of the recorded values.
Count = Callable[[], int]

#: Functions that hand a tensor's values to Python.
_READS = frozenset(
    {
        torch.Tensor.item,
        torch.Tensor.tolist,
        torch.Tensor.__bool__,
        torch.Tensor.__int__,
        torch.Tensor.__index__,
        torch.Tensor.__float__,
    }
)

#: Functions that take sizes, which may be tensors -> the position of the first size.
_SIZED: Mapping[Any, int] = {
    torch.Tensor.new_zeros: 1,
    torch.Tensor.new_ones: 1,
    torch.Tensor.new_full: 1,
    torch.zeros: 0,
    torch.ones: 0,
    torch.full: 0,
    torch.arange: 0,
}

#: Folders of code that reads values on behalf of a model's code.
_BETWEEN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Recording(FunctionMode):
    """A function mode that records the values which Python reads while a module runs."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[tuple[str, int], list[Any]] = defaultdict(list)

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The function's own result, recorded if Python reads or depends on its values."""
        found = func(*args, **given)
        if func in _READS:
            self.answers[_site()].extend(np.ravel(found).tolist())
        elif func in _SIZED and (sizes := _sizes(func, args)):
            self.answers[_site()].extend(size.item() for size in sizes)
        elif func in SELECTIONS:
            first = found[0] if isinstance(found, tuple) else found

            def count() -> int:
                self.answers[_site()].append(first.shape[0])
                return int(first.shape[0])

            SELECTIONS[func](count, *args, **given)
        return found


class Replay(FunctionMode):
    """A function mode that gives each line of code the values that it read in a recording.

    Args:
        answers: of a `Recording`; a line without any computes as it would alone.
    """

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._left = {site: iter(given) for site, given in answers.items()}

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The recorded value; the function's own result where none is left."""
        if func in _READS:
            # An exporter reads a list element by element.
            values = list(islice(self._told(), args[0].numel()))
            if values:
                whole = func is torch.Tensor.tolist
                return np.reshape(values, tuple(args[0].shape)).tolist() if whole else values[0]
        elif func in _SIZED and _sizes(func, args):
            told, first = self._told(), _SIZED[func]
            args = (
                *args[:first],
                *(next(told, a) if isinstance(a, torch.Tensor) else a for a in args[first:]),
            )
        elif func in SELECTIONS:
            with suppress(StopIteration):
                selected = SELECTIONS[func](lambda: next(self._told()), *args, **given)
                if selected is not NotImplemented:
                    return selected
        return func(*args, **given)

    def _told(self) -> Iterator[Any]:
        """The recorded values that are left for the line of code that asks now."""
        return self._left.get(_site(), iter(()))


def true_positions(mask: torch.Tensor, count: int) -> torch.Tensor:
    """The flat positions of a mask's true elements, as `nonzero` gives them, for a known number.

    With the running count of true elements, the k-th of them (from 0) stands behind exactly those
    places whose count is at most k; their number is its position.

    Args:
        mask: bool, of any shape.
        count: the number of true elements.

    Returns:
        int64 of shape (count,).
    """
    reached = torch.cumsum(mask.reshape(-1).to(torch.int64), 0)
    return (reached[None, :] <= torch.arange(count)[:, None]).to(torch.int64).sum(1)


def leading_mask(index: Any) -> torch.Tensor | None:
    """The mask of an index as in `x[mask]` or `x[mask, :]`; None for any other index."""
    first, *rest = index if isinstance(index, tuple) else (index,)
    whole = all(isinstance(each, slice) and each == slice(None) for each in rest)
    if whole and isinstance(first, torch.Tensor) and first.dtype == torch.bool and first.ndim:
        return first
    return None


def _get_item(count: Count, x: torch.Tensor, index: Any) -> Any:
    mask = leading_mask(index)
    if mask is None:
        return NotImplemented
    return x.reshape(-1, *x.shape[mask.ndim :])[true_positions(mask, count())]


def _masked_select(count: Count, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    x, mask = torch.broadcast_tensors(x, mask)
    return x.reshape(-1)[true_positions(mask, count())]


def _nonzero(count: Count, x: torch.Tensor, *, as_tuple: bool = False) -> Any:
    if not x.ndim:
        return NotImplemented
    flat = true_positions(x != 0, count())
    steps = [int(torch.Size(x.shape[axis + 1 :]).numel()) for axis in range(x.ndim)]
    places = tuple(flat // step % size for step, size in zip(steps, x.shape, strict=True))
    return places if as_tuple else torch.stack(places, 1)


def _where(count: Count, condition: torch.Tensor, *values: Any, **named: Any) -> Any:
    return NotImplemented if values or named else _nonzero(count, condition, as_tuple=True)


def _repeat_interleave(
    count: Count, x: torch.Tensor, repeats: Any = None, dim: int | None = None, **named: Any
) -> Any:
    if repeats is None:
        x, repeats = torch.arange(x.shape[0]), x
    if not isinstance(repeats, torch.Tensor) or repeats.numel() == 1 or dim not in (None, 0):
        return NotImplemented
    ends = torch.cumsum(repeats.to(torch.int64), 0)
    places = (ends[None, :] <= torch.arange(count())[:, None]).to(torch.int64).sum(1)
    return (x if dim == 0 else x.reshape(-1))[places]


#: Functions whose result is as long as a tensor's values say -> the same function for a known
#: length, which it asks of its first argument; NotImplemented for arguments that it does not take.
SELECTIONS: Mapping[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: _get_item,
    torch.Tensor.masked_select: _masked_select,
    torch.masked_select: _masked_select,
    torch.Tensor.nonzero: _nonzero,
    torch.nonzero: _nonzero,
    torch.argwhere: _nonzero,
    torch.where: _where,
    torch.repeat_interleave: _repeat_interleave,
    torch.Tensor.repeat_interleave: _repeat_interleave,
}


def _sizes(func: Any, args: tuple[Any, ...]) -> list[torch.Tensor]:
    return [arg for arg in args[_SIZED[func] :] if isinstance(arg, torch.Tensor)]


def _site() -> tuple[str, int]:
    """The line of code that reads: the innermost one outside PyTorch and this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
