"""Pipelines and generation of optimum-intel: `optimum.intel.pipeline` and `generate()`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from backends._shared import pipeline_outputs
from backends.openvino_optimum.optimum_imports import optimum_intel
from backends.openvino_optimum.program import tensors
from harness.contract import Array, Arrays, Case, Generated
from harness.toolkit import greedy_generation


def answer(model: Any, case: Case) -> tuple[Arrays, Arrays] | None:
    """Outputs of `optimum.intel.pipeline` for raw input, and the arrays it feeds the model."""
    asked = case.pipeline()
    if asked is None:
        return None
    greedy_generation.make_greedy(model, case.generation)
    fed: list[tuple[Mapping[str, Any], Arrays]] = []
    forward = model.forward

    @functools.wraps(forward)  # a pipeline reads its signature
    def watched(*given: Any, **keywords: Any) -> Any:
        raw = forward(*given, **keywords)
        fed.append((keywords, case.outputs(raw)))
        return raw

    model.forward = watched
    try:
        pipe = optimum_intel.pipeline(
            asked.task, model=model, accelerator="openvino", **asked.components
        )
        answered = pipe(asked.raw, **asked.arguments)
    finally:
        del model.forward
    return pipeline_outputs.arrays(asked, answered, fed, case)


def generate(model: Any, case: Case, inputs: Mapping[str, Array], tokens: int) -> Generated:
    """Greedy `generate()` with its cache: tokens, and the logits that each was chosen by."""
    greedy_generation.make_greedy(model, case.generation)
    return greedy_generation.generate(model, case.generation, tensors(inputs), tokens)
