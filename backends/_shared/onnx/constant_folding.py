"""Constant folding during an export: what follows from constants alone is computed at once.

Vision towers (Qwen2-VL's, say) and audio encoders compute with the sizes of their inputs: they make
lists of the sizes, loop over them and index by them. An exporter that sees tensors without values
cannot follow. With the sizes as constants, everything that follows from the sizes has a value too,
and only a value that meets a traced tensor enters the graph, as a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import _disable_current_modes

from backends._shared.onnx.function_mode import FunctionMode
from harness.contract import Array

#: Functions that make a tensor of plain numbers, so that its value is known.
_FACTORIES = frozenset(
    {torch.arange, torch.tensor, torch.as_tensor, torch.zeros, torch.ones, torch.full}
)

_INDEXING = frozenset({torch.Tensor.__getitem__, torch.Tensor.__setitem__})

#: The attribute that marks a tensor whose value is known.
_KNOWN = "_known_while_exporting"


class WrittenInto(Exception):
    """A traced value was written into a constant, which no constant of the graph can follow."""


class PartialEvaluation(FunctionMode):
    """A function mode that calls functions of known tensors at once, and lifts all other ones."""

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The known result of known tensors; else a traced result, known tensors as constants."""
        tensors = [x for x in _leaves((args, given)) if isinstance(x, torch.Tensor)]
        if tensors and all(map(_is_known, tensors)):
            return _evaluate(func, args, given)
        if not tensors and func in _FACTORIES:
            found = _evaluate(func, args, given)
            # Models make floating tensors to write into them.
            return found if not found.is_floating_point() else func(*args, **given)
        if any(map(_is_known, tensors)):
            name = getattr(func, "__name__", "")
            writes = name == "__setitem__" or (name.endswith("_") and not name.startswith("__"))
            if writes and _is_known(args[0]):
                raise WrittenInto(f"{name} writes a traced value into a constant")
            if func in _INDEXING:
                args = (args[0], _masks_as_positions(args[1]), *args[2:])
            args, given = _pytree.tree_map(_lifted, (args, given))
        return func(*args, **given)


def known(array: Array) -> torch.Tensor:
    """An array as a tensor with a known value."""
    with _untraced():
        return _mark(torch.from_numpy(array.copy()))


def lifted(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The tensors, those of known value as constants of the traced program."""
    return tuple(_lifted(tensor) for tensor in tensors)


def _evaluate(func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    with _untraced():
        return _pytree.tree_map(_mark, func(*args, **given))


@contextmanager
def _untraced() -> Iterator[None]:
    """A context outside of every trace: no fake tensors, nothing recorded."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        with _disable_current_modes():
            yield
    finally:
        torch._C._set_tracing_state(state)


def _mark(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        setattr(value, _KNOWN, True)
    return value


def _is_known(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and hasattr(value, _KNOWN)


def _lifted(value: Any) -> Any:
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return slice(*(int(p) if _is_known(p) else p for p in parts))
    if not _is_known(value):
        return value
    with _untraced():
        values, dtype = value.tolist(), value.dtype
    return torch.tensor(values, dtype=dtype).reshape(value.shape)


def _masks_as_positions(index: Any) -> Any:
    """An index with the positions that each known mask selects, a known number, in its place."""
    parts = index if isinstance(index, tuple) else (index,)
    found: list[Any] = []
    for part in parts:
        if _is_known(part) and part.dtype == torch.bool:
            found += _evaluate(torch.nonzero, (part,), {"as_tuple": True})
        else:
            found.append(part)
    return tuple(found)


def _leaves(tree: Any) -> Iterator[Any]:
    for leaf in _pytree.tree_leaves(tree):
        if isinstance(leaf, slice):
            yield from (leaf.start, leaf.stop, leaf.step)
        else:
            yield leaf
