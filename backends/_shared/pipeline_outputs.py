"""Outputs of a pipeline as arrays, for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.contract import GENERATED_TOKENS, Arrays, Case, CheckFailed, PipelineCase


def answered(ask: Callable[[], Any], fed: Sequence[object], case: Case) -> Any:
    """A pipeline's answer.

    One that generates far beyond what its model's `generation_config` says may leave the places of
    a small model before it answers: that is told, and not the error that it ends with.

    Args:
        ask: calls the pipeline.
        fed: of each call of the model within, so far.
        case: the model.

    Raises:
        CheckFailed: the pipeline failed after more tokens than the model was told to generate.
        What the pipeline raises, otherwise.
    """
    try:
        return ask()
    except Exception as error:
        if case.generation is None or len(fed) <= GENERATED_TOKENS:
            raise
        raise CheckFailed(
            f"pipeline: expected max_new_tokens = {GENERATED_TOKENS}, as the model's "
            f"generation_config says, found {type(error).__name__} after {len(fed)} inferences: "
            f"{error}",
            fault="pipeline: more tokens than the model's generation_config says",
        ) from error


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
        if case.generation is not None and asked.settings:
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
