"""Positions of tokens among images, computed beside the model instead of within it.

The models of the Qwen-VL and GLM-V kind walk over the tokens in Python (`get_rope_index`). A trace
keeps where it went for its example: it refuses, or gets wrong, another padding. An exporter that
sees no values cannot follow at all. Their `generate()` computes the positions first and hands them
to `forward`; so does this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch

from harness.contract import Array, Arrays, Case, Placement, Program

#: The method that computes them, and the argument of forward that takes them.
METHOD, ARGUMENT = "get_rope_index", "position_ids"


def completing(case: Case, *, anew: bool = False) -> Callable[[Mapping[str, Array]], Arrays]:
    """A function that adds a model's positions to its inputs, where it computes them in Python.

    Positions are integers of shape (axes, batch, length).

    Args:
        case: whose module computes them.
        anew: in place of those that the inputs have, too: of a text that was padded since.
    """
    module = case.module()
    owner = next((part for part in module.modules() if hasattr(part, METHOD)), None)
    if owner is None or ARGUMENT not in inspect.signature(module.forward).parameters:
        return dict
    parameters = inspect.signature(getattr(owner, METHOD)).parameters.values()
    taken = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in parameters if p.default is p.empty and p.name in taken]
    pictures = {*taken} - {*needed} - {"attention_mask"}

    def completed(inputs: Mapping[str, Array]) -> Arrays:
        if (ARGUMENT in inputs and not anew) or any(name not in inputs for name in needed):
            return dict(inputs)
        if not any(name in inputs for name in pictures):
            return dict(inputs)  # text alone is counted within the model
        given = {n: torch.from_numpy(inputs[n].copy()) for n in taken if n in inputs}
        with torch.no_grad():
            positions, _ = getattr(owner, METHOD)(**given)
        return {**inputs, ARGUMENT: positions.numpy()}

    return completed


class CompletedCase:
    """A case whose inputs are complete; all else is the case's own."""

    def __init__(self, case: Case, complete: Callable[[Mapping[str, Array]], Arrays]) -> None:
        self._case = case
        self._complete = complete

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def inputs(self, name: str = "base") -> Arrays:
        """The case's, completed."""
        return self._complete(self._case.inputs(name))


def completed(case: Case) -> tuple[Case, Callable[[Mapping[str, Array]], Arrays]]:
    """The same case with complete inputs, and what completes others."""
    complete = completing(case)
    return cast(Case, CompletedCase(case, complete)), complete


class Completed:
    """A program that is given more than the case's inputs.

    Args:
        program: what runs.
        complete: the inputs of that from the case's.
    """

    def __init__(self, program: Program, complete: Callable[[Mapping[str, Array]], Arrays]) -> None:
        self.program = program
        self.complete = complete

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.program(self.complete(inputs))

    def placement(self) -> Placement:
        """The program's."""
        return self.program.placement()
