"""Piece: a submodule with recorded arguments, as a module of its own."""

from __future__ import annotations

import copy
import inspect
import keyword
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.diagnosis.recorded_calls import Call

#: The names that a piece's inputs may not have: its forward's own.
_TAKEN = frozenset({"self", "module", "values", "given"})


def inputs_of(part: Any, call: Call) -> Arrays:
    """The tensors among a call's arguments, as arrays by name.

    Complex tensors become pairs of real numbers, and floats of 16 bits become float32.

    Args:
        part: the submodule.
        call: of the submodule.
    """
    return {name: _array(leaf) for name, leaf in _named(part, call)[0].items()}


def piece_module(part: Any, call: Call, model: Any) -> Any:
    """A module that calls a submodule with the tensors of `inputs_of` and returns its tensors.

    Arguments that are no tensors are those of the recorded call.

    Args:
        part: the submodule.
        call: of the submodule.
        model: around it, which holds the choice of how experts are computed.
    """
    import torch
    from torch.utils import _pytree

    named, leaves, structure = _named(part, call)
    names = {id(leaf): name for name, leaf in named.items()}
    # The name of a tensor, or a constant in a list.
    plan: list[Any] = [names.get(id(leaf), [leaf]) for leaf in leaves]
    kinds = {name: leaf.is_complex() for name, leaf in named.items()}

    class PieceModule(torch.nn.Module):
        """A submodule with recorded arguments."""

        def __init__(self) -> None:
            super().__init__()
            self.part = part
            self._model = [model]  # in a list: its parameters are not the piece's
            self.plan = plan

        def set_experts_implementation(self, choice: str) -> None:
            """The model's choice of how experts are computed."""
            self._model[0].set_experts_implementation(choice)

    def forward(self: Any, **given: Any) -> dict[str, Any]:
        """The submodule's tensors by number."""
        held = []
        for each in self.plan:
            if isinstance(each, str):
                tensor = given[each]
                held.append(torch.view_as_complex(tensor) if kinds[each] else tensor)
            else:
                held.append(_fresh(each[0]))
        args, kwargs = _pytree.tree_unflatten(held, structure)
        made = _pytree.tree_leaves(self.part(*args, **kwargs))
        return {f"out_{i}": leaf for i, leaf in enumerate(made) if isinstance(leaf, torch.Tensor)}

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *named)]
    vars(forward)["__signature__"] = inspect.Signature(parameters)
    return type("PieceModule", (PieceModule,), {"forward": forward})().eval()


def _named(part: Any, call: Call) -> tuple[dict[str, Any], list[Any], Any]:
    """Tensors by name, all leaves of the arguments, and the structure of these."""
    import torch
    from torch.utils import _pytree

    leaves, structure = _pytree.tree_flatten((call.args, dict(call.kwargs)))
    taken = [
        name
        for name, parameter in inspect.signature(part.forward).parameters.items()
        if parameter.kind is not parameter.VAR_POSITIONAL
    ]
    places = [
        *((taken[i] if i < len(taken) else f"input_{i}", arg) for i, arg in enumerate(call.args)),
        *call.kwargs.items(),
    ]
    named: dict[str, Any] = {}
    known: set[int] = set()
    for name, value in places:
        found = [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        for i, leaf in enumerate(found):
            if id(leaf) in known:
                continue
            known.add(id(leaf))
            named[_free(f"{name}_{i}" if len(found) > 1 else name, named)] = leaf
    return named, leaves, structure


def _free(name: str, taken: Any) -> str:
    """The name, or one like it that an argument may have."""
    if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
        name = f"input_{''.join(c if c.isalnum() else '_' for c in name)}"
    while name in taken:
        name += "_"
    return name


def _array(tensor: Any) -> Array:
    import torch

    held = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    if held.dtype in (torch.bfloat16, torch.float16):
        held = held.float()
    return np.array(held.resolve_conj().resolve_neg().numpy())


def _fresh(constant: Any) -> Any:
    """A constant argument, copied where it may change, as a cache does."""
    if constant is None or isinstance(constant, bool | int | float | str):
        return constant
    try:
        return copy.deepcopy(constant)
    except Exception:  # what cannot be copied is handed on
        return constant
