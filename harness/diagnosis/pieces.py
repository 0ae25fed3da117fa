"""Pieces of one model: each submodule's call as a case of its own, with its recorded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from harness.contract import Arrays
from harness.diagnosis.piece_module import inputs_of, piece_module
from harness.diagnosis.recorded_calls import Call, Place, record
from harness.models.case import TinyCase

BASE, OTHER = "base", "other"


class Pieces:
    """The submodules of a model and their calls on its inputs.

    Args:
        case: the model.
        inputs: by variant; the plain ones, the other ones, and those of the chosen variant.
        chosen: the variant on which the model fails.
    """

    def __init__(self, case: TinyCase, inputs: Mapping[str, Arrays], chosen: str) -> None:
        self.case = case
        self.inputs = inputs
        self.chosen = chosen

    @cached_property
    def model(self) -> Any:
        """The model as a backend gets it."""
        return self.case.module()

    @cached_property
    def calls(self) -> Mapping[Place, Call]:
        """The calls on the chosen input, in the order of their beginnings."""
        return self._recorded(self.chosen)

    @cached_property
    def _of_variants(self) -> Mapping[str, Mapping[Place, Call]]:
        return {
            name: self.calls if name == self.chosen else self._recorded(name)
            for name in dict.fromkeys((BASE, OTHER))
        }

    def _recorded(self, name: str) -> dict[Place, Call]:
        return record(self.model, self.inputs[name], self.case.options(), self.case.seed)

    def kind(self, path: str) -> str:
        """The class of a submodule."""
        return type(self.model.get_submodule(path)).__name__

    def depth(self, place: Place) -> int:
        """How many calls are around a call; 0 of the model's own."""
        caller = self.calls[place].caller
        return 0 if caller is None else 1 + self.depth(caller)

    def children(self, place: Place) -> list[Place]:
        """The calls within a call that compute something; one of each kind first.

        Layers of a kind mostly fail alike, and the first of them says so.
        """
        found = [p for p, call in self.calls.items() if call.caller == place and not call.idle]
        first: dict[Any, Place] = {}
        for one in found:
            first.setdefault(self._signature(one), one)
        early = set(first.values())
        return [p for p in found if p in early] + [p for p in found if p not in early]

    def _signature(self, place: Place) -> Any:
        call = self.calls[place]
        part = self.model.get_submodule(place[0])
        shapes = tuple((n, a.shape) for n, a in inputs_of(part, call).items())
        return type(part), shapes

    def alone(self, place: Place, *, itself: bool = False) -> tuple[TinyCase, Arrays]:
        """One call as a case, and its inputs on the chosen variant.

        Args:
            place: of the call.
            itself: whether the example, too, is the chosen variant; else it is the plain one, as in
                the whole model, where the call has the same arguments there.
        """
        part, call = self.model.get_submodule(place[0]), self.calls[place]
        given = inputs_of(part, call)
        plain = self._of_variants[BASE].get(place)
        if itself or plain is None or not _same_constants(plain, call, part):
            return self.case.wrapped(
                piece_module(part, call, self.model), {BASE: given, OTHER: given}
            ), given
        base = inputs_of(part, plain)
        further = self._of_variants[OTHER].get(place)
        other = inputs_of(part, further) if further is not None else base
        if {n: a.shape for n, a in other.items()} != {n: a.shape for n, a in base.items()}:
            other = base
        module = piece_module(part, plain, self.model)
        return self.case.wrapped(module, {BASE: base, OTHER: other}), given


def _same_constants(one: Call, other: Call, part: Any) -> bool:
    """Whether two calls differ in nothing but the values and shapes of their tensors."""
    import torch
    from torch.utils import _pytree

    if inputs_of(part, one).keys() != inputs_of(part, other).keys():
        return False
    leaves = [_pytree.tree_leaves((call.args, dict(call.kwargs))) for call in (one, other)]
    plain = (bool, int, float, str)
    return len(leaves[0]) == len(leaves[1]) and all(
        a == b
        for a, b in zip(*leaves, strict=True)
        if not isinstance(a, torch.Tensor) and isinstance(a, plain)
    )
