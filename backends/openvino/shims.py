"""What stands in for pieces of PyTorch and transformers while a model is converted.

Each is one function replaced by an equal one that OpenVINO can convert; the harness compares the
result with the plain model, so that a wrong shim is a failed check.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from backends.openvino import decompositions


@dataclass(frozen=True, slots=True)
class Shim:
    """A replacement: of what (`module:attribute`, `torch:Tensor.unfold`), by what, and why."""

    target: str
    replacement: Callable[..., Any]
    reason: str


def _no_packed_sequences(position_ids: Any) -> None:
    """No sequence here holds several texts."""


SHIMS: tuple[Shim, ...] = (
    Shim(
        "transformers.masking_utils:find_packed_sequence_indices",
        _no_packed_sequences,
        "It looks for several texts in one row with aten::diff, which has no conversion; the "
        "examples hold one a row.",
    ),
    Shim(
        "torch:cat",
        decompositions.cat,
        "A fresh DynamicLayer of transformers is an empty tensor of one dimension, which PyTorch's "
        "cat passes over; OpenVINO's wants tensors of one rank (SequenceMark, aten::cat).",
    ),
    Shim(
        "torch:Tensor.unfold",
        decompositions.unfold,
        "The conversion of aten::unfold gets the rank wrong where a dimension is dynamic.",
    ),
    Shim(
        "torch:Tensor.__getitem__",
        decompositions.getitem,
        "AtenIndexToSelect fails on a mask that is constant, and takes the whole conversion along.",
    ),
    Shim(
        "torch:Tensor.scatter",
        decompositions.scatter,
        "PyTorch's tracer has no schema for scatter with a truth value and ends with an internal "
        "error (alias_analysis.cpp, We don't have an op for aten::scatter).",
    ),
    Shim(
        "torch:Tensor.index_put",
        decompositions.index_put,
        "aten::index_put has no conversion where aten::index_put_ has one.",
    ),
    Shim(
        "torch:Tensor.squeeze",
        decompositions.squeeze,
        "A squeeze of a dimension whose size the converter does not know gives a dynamic rank, "
        "which the CPU plug-in refuses.",
    ),
    Shim(
        "torch:squeeze",
        decompositions.squeeze,
        "As Tensor.squeeze.",
    ),
    Shim(
        "torch.linalg:solve_triangular",
        decompositions.solve_triangular,
        "aten::linalg_solve_triangular has no conversion.",
    ),
)

#: Choices of a model for which it has a setter, and why.
CHOICES = {
    # The default (grouped_mm) counts tokens with aten::histc, which has no conversion.
    "set_experts_implementation": "batched_mm",
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """The shims in place; a library that lacks a shim's target has no use for it."""
    with contextlib.ExitStack() as stack:
        for shim in SHIMS:
            found = owner(shim.target)
            if found is not None:
                stack.enter_context(mock.patch.object(*found, shim.replacement))
        yield


def owner(target: str) -> tuple[Any, str] | None:
    """The object that has the target as an attribute, and the attribute's name."""
    name, _, path = target.partition(":")
    try:
        owner: Any = importlib.import_module(name)
    except ImportError:
        return None
    *outer, attribute = path.split(".")
    for part in outer:
        owner = getattr(owner, part, None)
    return (owner, attribute) if hasattr(owner, attribute) else None


def prepare(module: Any) -> None:
    """Make the choices on a model."""
    for setter, choice in CHOICES.items():
        function = getattr(module, setter, None)
        if function is not None:
            # Most architectures have no such choice, and each says so in its own way.
            with contextlib.suppress(ValueError, KeyError, AttributeError, NotImplementedError):
                function(choice)
