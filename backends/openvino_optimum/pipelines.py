"""Pipelines and generation of optimum-intel: `optimum.intel.pipeline` and `generate()`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from backends._shared import pipeline_outputs
from backends.openvino_optimum.optimum_imports import optimum_intel
from backends.openvino_optimum.program import tensors
from harness.contract import Arrays, Case, Generated, GenerationRequest, Generator, Unsupported
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
        # transformers 5.5, which optimum-intel pins, does not read generation_config here.
        answered = pipeline_outputs.answered(
            lambda: pipe(asked.raw, **asked.arguments, **asked.settings), fed, case
        )
    finally:
        del model.forward
    return pipeline_outputs.arrays(asked, answered, fed, case)


def generator(model: Any, case: Case) -> Generator:
    """The model's `generate()`.

    The compiled model keeps the state, and in Python a tuple stands for it: `generate()` cannot go
    on from that, nor forget a refused draft. A decoder behind an encoder takes one token at a time.
    """
    generation = case.generation
    assert generation is not None
    greedy_generation.make_greedy(model, generation)

    def generate(request: GenerationRequest) -> Generated:
        drafts = request.assisted or "prompt_lookup_num_tokens" in request.settings
        follows = request.follow is not None
        if drafts or (follows and (request.tokens or model.config.is_encoder_decoder)):
            raise Unsupported("optimum's cache is a tuple, which generate() can't crop or continue")
        return greedy_generation.generate(model, generation, request, tensors)

    return generate
