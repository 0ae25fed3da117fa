"""Greedy `generate()` of transformers: the likeliest token each time, with the logits of each step.

For a model of transformers, and for one with the same `generate()`, as optimum-intel makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contract import Generated, Generation

#: Config fields that force a token at the beginning or the end: `bart` and `mbart` have them.
FORCED = ("forced_bos_token_id", "forced_eos_token_id")


def make_greedy(model: Any, generation: Generation | None) -> None:
    """Lets a model generate the likeliest token, as many as are asked for.

    Args:
        model: with a `generation_config`; changed in place, as are its parts that have one (a
            composite model, as `blip-2` is, lets its text model generate).
        generation: how it generates; None where it does not, and nothing is changed.
    """
    if generation is None:
        return
    from transformers import GenerationConfig

    suppressed = list(generation.suppressed) or None
    parts = model.modules() if hasattr(model, "modules") else [model]
    for part in parts:
        if hasattr(part, "generation_config"):
            part.generation_config = GenerationConfig(
                do_sample=False, pad_token_id=0, suppress_tokens=suppressed
            )
            for name in FORCED:
                if getattr(part.config, name, None) is not None:
                    setattr(part.config, name, None)


def generate(
    model: Any, generation: Generation | None, inputs: Mapping[str, Any], tokens: int
) -> Generated:
    """Tokens, and the logits that each was chosen by.

    Args:
        model: that `make_greedy` has changed.
        generation: how it generates.
        inputs: torch tensors by argument name, with the prompt.
        tokens: how many to generate.

    Returns:
        No logits where the model's own `generate()` does not pass them on, nor before
        transformers 4.38.
    """
    import torch
    from transformers import GenerationConfig

    if generation is not None and generation.argument == "decoder_input_ids":
        # Given ids that begin with it are taken as they are; others get it in front.
        start = int(inputs["decoder_input_ids"][0, 0])
        model.generation_config.decoder_start_token_id = start
    told = {"output_logits": True} if hasattr(GenerationConfig(), "output_logits") else {}
    raw = model.generate(**inputs, max_new_tokens=tokens, return_dict_in_generate=True, **told)
    if isinstance(raw, torch.Tensor):
        return Generated(raw.cpu().numpy())
    logits = getattr(raw, "logits", None)
    return Generated(
        raw.sequences.cpu().numpy(),
        torch.stack(tuple(logits), dim=1).float().cpu().numpy() if logits else None,
    )
