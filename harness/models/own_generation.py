"""Answers of a model's own `generate()`, as its user gets them: tokens, sound, forecasts.

Most classes generate as `harness.toolkit.greedy_generation` has it, and each of their tokens is
judged. A class with a `generate()` of its own may answer something else: RAG weighs whole answers
by its documents, BLIP-2 leaves the prompt out, a speech model gives a waveform.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.models.outputs import flatten
from harness.toolkit.cpu_seed import seed_cpu
from harness.toolkit.dtype_cast import cast

#: How many tokens or steps an answer has, where the model asks its `generation_config`.
TOKENS = 8

#: The first token, where a small model's config names none.
BEGIN = 1


def generates(cls: Any) -> bool:
    """Whether a model's class has a `generate()`: that of transformers, or one of its own."""
    own = any("generate" in vars(base) for base in cls.__mro__ if ".models." in base.__module__)
    able = getattr(cls, "can_generate", None)
    return own or (able is not None and hasattr(cls, "generate") and bool(able()))


def answer(
    module: Any,
    inputs: Mapping[str, Array],
    seed: int,
    settings: Mapping[str, Any],
) -> Arrays:
    """The tensors of what `generate()` returns, by name.

    Args:
        module: a float32 or float64 model; its `generation_config` is changed.
        inputs: by argument of forward; what a decoder has written is left out, and so is whatever a
            `generate()` does not take that says what it takes.
        seed: of the generator that modeling code draws from.
        settings: further keyword arguments.
    """
    import torch

    for part in module.modules():
        held = getattr(part, "generation_config", None)
        if held is not None:
            held.do_sample = False
            if held.bos_token_id is None:
                held.bos_token_id = BEGIN
    whole = getattr(module, "generation_config", None)
    if whole is not None:
        whole.max_length, whole.max_new_tokens = None, TOKENS
    taken = inspect.signature(module.generate).parameters.values()
    any_name = any(p.kind is p.VAR_KEYWORD for p in taken)
    names = {p.name for p in taken}
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    given = {
        name: _tensor(array, dtype)
        for name, array in inputs.items()
        if not name.startswith("decoder_") and (any_name or name in names)
    }
    seed_cpu(seed)
    np.random.seed(seed)  # noqa: NPY002 (the generator that modeling code may draw from)
    with torch.no_grad():
        return flatten(module.generate(**given, **settings))


def in_dtype(module: Any, dtype: str) -> Any:
    """A model of float32, in another dtype."""
    return module if dtype == "float32" else cast(module, dtype)


def _tensor(array: Array, dtype: Any) -> Any:
    import torch

    made = torch.from_numpy(np.array(array))
    if made.ndim == 0:
        return made.item()
    return made.to(dtype) if made.is_floating_point() else made
