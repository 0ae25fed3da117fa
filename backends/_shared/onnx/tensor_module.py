"""A wrapper module of positional tensors, which is the form that exporters take."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from backends._shared.onnx import constant_folding
from backends._shared.onnx.data_dependent import static_shapes
from backends._shared.onnx.recorded_values import Answers, Recording, Replay
from harness.contract import Array, Case


class TensorModule(torch.nn.Module):
    """A wrapper module: positional tensors in, a tuple of the chosen output tensors out.

    Args:
        module: is called with the tensors by name.
        names: of the module's arguments, in the order of the tensors.
        options: the module's arguments that are no tensors.
        leaves: the positions of the chosen tensors in the module's flattened output.
        fixed: the module's arguments that are constants of the program, by name.

    Attributes:
        answers: recorded values that forward replays; none, unless a route sets them.
    """

    def __init__(
        self,
        module: Any,
        names: Sequence[str],
        options: Mapping[str, Any],
        leaves: Sequence[int] = (),
        fixed: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)
        self.options = dict(options)
        self.leaves = tuple(leaves)
        self.fixed = dict(fixed or {})
        self.answers: Answers = {}

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The chosen outputs; complex ones as pairs of real numbers."""
        given = dict(zip(self.names, tensors, strict=True))
        # PyTorch asks the mode that is entered last first, and all modes before the exporter.
        with static_shapes(), Replay(self.answers):
            if not self.fixed:
                return self._chosen(self.module(**given, **self.options))
            given |= {name: constant_folding.known(array) for name, array in self.fixed.items()}
            with constant_folding.PartialEvaluation():
                found = self.module(**given, **self.options)
            return constant_folding.lifted(self._chosen(found))

    def _chosen(self, found: Any) -> tuple[torch.Tensor, ...]:
        leaves = _pytree.tree_leaves(found)
        return tuple(_real(leaves[i]) for i in self.leaves)


@dataclass(frozen=True, slots=True)
class ExportInput:
    """A wrapper module with all that an exporter asks of it.

    Attributes:
        module: the wrapper, in evaluation mode.
        tensors: example inputs, in the order of `inputs`.
        inputs: argument names.
        outputs: the model's name of each output -> its position among the module's outputs; two
            names may share one tensor.
        fixed: the inputs that are constants of the program, with their values.
        answers: the values that Python read from the module's tensors on the example.
    """

    module: TensorModule
    tensors: tuple[torch.Tensor, ...]
    inputs: tuple[str, ...]
    outputs: Mapping[str, int]
    fixed: Mapping[str, Array]
    answers: Answers


def export_input(
    case: Case, inputs: Mapping[str, Array], fixed: Collection[str] = ()
) -> ExportInput:
    """The case's module, wrapped as a function of the given inputs.

    The case says which of the module's tensors count as outputs, and their names: it is asked with
    each tensor replaced by its own position.

    Args:
        case: whose module and options are taken.
        inputs: example inputs by argument name.
        fixed: the inputs whose values the program holds as constants.
    """
    module = case.module().eval()
    _prefer_batched_experts(module)
    every = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
    with torch.no_grad(), Recording() as recording:
        torch.manual_seed(0)
        leaves, structure = _pytree.tree_flatten(module(**every, **case.options()))
    numbered = [
        torch.tensor([i]) if isinstance(leaf, torch.Tensor) else leaf
        for i, leaf in enumerate(leaves)
    ]
    named = case.outputs(_pytree.tree_unflatten(numbered, structure))
    # A tensor that is returned under two names is one output of the graph.
    first = {name: _first_same(leaves, int(array.item())) for name, array in named.items()}
    kept = sorted(set(first.values()))
    names = tuple(name for name in inputs if name not in fixed)
    held = {name: inputs[name] for name in inputs if name in fixed}
    return ExportInput(
        TensorModule(module, names, case.options(), kept, held).eval(),
        tuple(every[name] for name in names),
        names,
        {name: kept.index(i) for name, i in first.items()},
        held,
        recording.answers,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """A context without gradients and warnings: exporters warn of what is normal for them."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def _first_same(leaves: Sequence[Any], i: int) -> int:
    return next(j for j, leaf in enumerate(leaves) if leaf is leaves[i])


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _prefer_batched_experts(module: Any) -> None:
    """Let Mixtral and its kind compute experts as batched products: ONNX has no grouped one."""
    choose = getattr(module, "set_experts_implementation", None)
    if choose is not None:
        # Most architectures have no experts, and raise one or the other error.
        with suppress(ValueError, KeyError, AttributeError, NotImplementedError):
            choose("batched_mm")
