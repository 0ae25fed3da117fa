"""Positions of tokens among images (multimodal rotary embeddings), computed beside the model.

Qwen-VL, GLM-V and their kind walk over the tokens in Python (`get_rope_index`). A trace keeps where
that loop went for its example, and refuses another padding or gets it wrong; an exporter that sees
no values cannot follow the loop at all. The models' own `generate()` computes the positions first
and hands them to `forward`; a backend that traces or exports does the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import cast

import torch

from backends._shared.completed_inputs import Complete, CompletedCase
from harness.contract import Array, Arrays, Case

#: The method that computes positions, and the argument of forward that takes them.
METHOD, ARGUMENT = "get_rope_index", "position_ids"


def completer(case: Case, *, anew: bool = False) -> Complete:
    """A function that adds positions to the inputs of a model that computes them in Python.

    Positions are int64 of shape (axes, batch, length). Inputs of any other model stay as they are.

    Args:
        case: whose module computes positions.
        anew: whether positions that the inputs have already are replaced: those of a text that was
            padded since.
    """
    module = case.module()
    owner = next((part for part in module.modules() if hasattr(part, METHOD)), None)
    if owner is None or ARGUMENT not in inspect.signature(module.forward).parameters:
        return dict
    parameters = inspect.signature(getattr(owner, METHOD)).parameters.values()
    taken = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in parameters if p.default is p.empty and p.name in taken]
    pictures = {*taken} - {*needed} - {"attention_mask"}

    def complete(inputs: Mapping[str, Array]) -> Arrays:
        if (ARGUMENT in inputs and not anew) or any(name not in inputs for name in needed):
            return dict(inputs)
        if not any(name in inputs for name in pictures):
            return dict(inputs)  # text alone is counted within the model
        given = {n: torch.from_numpy(inputs[n].copy()) for n in taken if n in inputs}
        with torch.no_grad():
            positions, _ = getattr(owner, METHOD)(**given)
        return {**inputs, ARGUMENT: positions.numpy()}

    return complete


def completed_case(case: Case) -> tuple[Case, Complete]:
    """The case with positions among its inputs, and the function that adds them to other inputs."""
    complete = completer(case)
    return cast(Case, CompletedCase(case, complete)), complete
