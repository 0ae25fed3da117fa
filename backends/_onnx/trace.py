"""A module as a function of tensors, which is what an exporter takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from harness.contract import Array, Case


class Traced(torch.nn.Module):
    """Tensors in, a tuple of the chosen output tensors out.

    Args:
        module: called with the tensors by name.
        names: of its arguments, in the order of the tensors.
        options: its arguments that are no tensors.
        leaves: which tensors of its (nested) output to return, by their position in it.
    """

    def __init__(
        self, module: Any, names: Sequence[str], options: Mapping[str, Any], leaves: Sequence[int]
    ) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)
        self.options = dict(options)
        self.leaves = tuple(leaves)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The chosen outputs; complex ones as pairs of real numbers."""
        given = dict(zip(self.names, tensors, strict=True))
        found = _pytree.tree_leaves(self.module(**given, **self.options))
        return tuple(_real(found[i]) for i in self.leaves)


@dataclass(frozen=True, slots=True)
class Trace:
    """A module that is ready for an exporter.

    Attributes:
        module: in evaluation mode.
        tensors: example inputs, in the order of `inputs`.
        inputs: argument names.
        outputs: the model's name of each output -> its position among the module's outputs; two
            names may share one tensor.
    """

    module: Traced
    tensors: tuple[torch.Tensor, ...]
    inputs: tuple[str, ...]
    outputs: Mapping[str, int]


def trace(case: Case, inputs: Mapping[str, Array]) -> Trace:
    """The case's module as a function of the given inputs.

    Which of the module's tensors count as outputs, and under which names, is the case's say: it is
    asked with each tensor replaced by its own position.
    """
    module = case.module().eval()
    _prefer_batched_experts(module)
    tensors = tuple(torch.from_numpy(np.array(array)) for array in inputs.values())
    plain = Traced(module, tuple(inputs), case.options(), ())
    with torch.no_grad():
        torch.manual_seed(0)
        raw = module(**dict(zip(plain.names, tensors, strict=True)), **plain.options)
    leaves, structure = _pytree.tree_flatten(raw)
    numbered = [
        torch.tensor([i]) if isinstance(leaf, torch.Tensor) else leaf
        for i, leaf in enumerate(leaves)
    ]
    named = case.outputs(_pytree.tree_unflatten(numbered, structure))
    position = {name: int(array.item()) for name, array in named.items()}
    # A tensor that is returned under two names is one output of the graph.
    first = {name: _first_same(leaves, i) for name, i in position.items()}
    kept = sorted(set(first.values()))
    outputs = {name: kept.index(i) for name, i in first.items()}
    chosen = Traced(module, plain.names, plain.options, kept).eval()
    return Trace(chosen, tensors, plain.names, outputs)


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn of what is normal for them."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def _first_same(leaves: Sequence[Any], i: int) -> int:
    return next(j for j, leaf in enumerate(leaves) if leaf is leaves[i])


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _prefer_batched_experts(module: Any) -> None:
    """Experts as batched matrix products: the grouped product is no operator of ONNX."""
    choose = getattr(module, "set_experts_implementation", None)
    if choose is not None:
        # Most architectures have no experts, and each says so in its own way.
        with suppress(ValueError, KeyError, AttributeError, NotImplementedError):
            choose("batched_mm")
