"""Pipelines and generation of optimum-intel: `optimum.intel.pipeline` and `generate()`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import transformers

from backends._shared import pipeline_outputs
from backends._shared.generated import WITH_LOGITS, generated
from backends.openvino_optimum.optimum_imports import optimum_intel
from backends.openvino_optimum.program import tensors
from harness.contract import Array, Arrays, Case, Generated


def answer(model: Any, case: Case) -> tuple[Arrays, Arrays] | None:
    """Outputs of `optimum.intel.pipeline` for raw input, and the arrays it feeds the model."""
    asked = case.pipeline()
    if asked is None:
        return None
    _make_greedy(model, case)
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
    _make_greedy(model, case)
    if case.generation is not None and case.generation.argument == "decoder_input_ids":
        # Given ids that begin with it are taken as they are; others get it in front.
        start = int(inputs["decoder_input_ids"][0, 0])
        model.generation_config.decoder_start_token_id = start
    return generated(model.generate(**tensors(inputs), max_new_tokens=tokens, **WITH_LOGITS))


def _make_greedy(model: Any, case: Case) -> None:
    """Let the model generate the likeliest token, to the last one."""
    if case.generation is None:
        return
    suppressed = list(case.generation.suppressed) or None
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, pad_token_id=0, suppress_tokens=suppressed
    )
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        if getattr(model.config, name, None) is not None:
            setattr(model.config, name, None)
