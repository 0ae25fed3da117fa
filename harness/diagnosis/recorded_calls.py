"""Recorded calls: the arguments of each submodule's calls in one inference."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.contract import Arrays
from harness.diagnosis.events import watching
from harness.models.eager_reference import tensors

#: Path of a submodule, and the number of its call.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a submodule.

    Attributes:
        path: of the submodule; empty for the model itself.
        number: of the call, from 0.
        args: its positional arguments, cloned.
        kwargs: its arguments by keyword, cloned.
        caller: path and number of the call in whose forward this one is made; None of the model's.
        idle: whether it returns its inputs as they are, as dropout does.
    """

    path: str
    number: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    caller: Place | None
    idle: bool

    @property
    def place(self) -> Place:
        """Its path and number."""
        return self.path, self.number


def record(module: Any, inputs: Arrays, options: Mapping[str, Any], seed: int) -> dict[Place, Call]:
    """The calls of all submodules in an inference in float32, in the order of their beginnings.

    Args:
        module: a `torch.nn.Module` in evaluation mode.
        inputs: arrays by argument name.
        options: its arguments that are no arrays.
        seed: of the random numbers that its code draws.

    Raises:
        What the modeling code raises.
    """
    import torch
    from torch.utils import _pytree

    begun: dict[Place, tuple[Any, set[int], Place | None]] = {}
    idle: set[Place] = set()
    stack: list[Place] = []

    def entered(path: str, number: int, given: Any) -> None:
        own = {id(leaf) for leaf in _pytree.tree_leaves(given) if isinstance(leaf, torch.Tensor)}
        begun[path, number] = _copied(given), own, stack[-1] if stack else None
        stack.append((path, number))

    def left(path: str, number: int, made: Any) -> None:
        stack.pop()
        found = [leaf for leaf in _pytree.tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        if all(id(leaf) in begun[path, number][1] for leaf in found):
            idle.add((path, number))

    torch.manual_seed(seed)
    with torch.no_grad(), watching(module, entered, left):
        module(**tensors(inputs, torch.float32), **options)
    return {
        place: Call(*place, args, kwargs, caller, place in idle)
        for place, ((args, kwargs), _, caller) in begun.items()
    }


def _copied(tree: Any) -> Any:
    """A copy that later steps of the inference do not change."""
    import torch
    from torch.utils import _pytree

    def copied(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.detach().clone()
        with suppress(Exception):  # what cannot be copied, as an open file, is kept
            return copy.deepcopy(leaf)
        return leaf

    return _pytree.tree_map(copied, tree)
