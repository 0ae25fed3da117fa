"""Outputs of a pipeline as arrays, for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.contract import Arrays, Case, CheckFailed, PipelineCase


def arrays(
    asked: PipelineCase, answer: Any, fed: Sequence[tuple[Mapping[str, Any], Arrays]], case: Case
) -> tuple[Arrays, Arrays]:
    """The outputs to compare, and the arrays that they are computed from.

    Args:
        asked: what the pipeline was asked.
        answer: what it returned.
        fed: of each call of the model within, its arguments and its outputs.
        case: the model.

    Raises:
        CheckFailed: the pipeline answered without the model.
    """
    if asked.inputs is not None:
        if case.generation is not None:
            tokens = np.array([row["generated_token_ids"] for row in answer])
            return {case.generation.argument: tokens}, asked.inputs
        return {"": np.asarray(answer, dtype=np.float32)}, asked.inputs
    if answer is None or not fed:
        raise CheckFailed(f"pipeline: expected an answer made by the model, found {answer!r}")
    arguments, computed = fed[0]
    return computed, {
        name: value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()
        for name, value in arguments.items()
        if isinstance(value, torch.Tensor)
    }
