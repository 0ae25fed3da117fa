"""Generation by the `generate()` of transformers, with the logits of each step.

For a model of transformers, and for one with the same `generate()`, as optimum-intel makes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.contract import (
    GENERATED_TOKENS,
    Array,
    Generated,
    Generation,
    GenerationRequest,
    Unsupported,
)

#: Config fields that force a token at the beginning or the end: `bart` and `mbart` have them.
FORCED = ("forced_bos_token_id", "forced_eos_token_id")

#: Arguments of forward that take what a model keeps of a text; `mamba` and `rwkv` have their own.
CACHES = ("past_key_values", "cache_params", "state")

#: Torch tensors by argument name of arrays.
Tensors = Callable[[Mapping[str, Array]], dict[str, Any]]


def make_greedy(model: Any, generation: Generation | None) -> None:
    """Lets a model generate the likeliest token, as many as are asked for, or by itself a few.

    Args:
        model: with a `generation_config`; changed in place, as are its parts that have one (a
            composite model, as `blip-2` is, lets its text model generate).
        generation: how it generates; None where it does not, and nothing is changed.
    """
    if generation is None:
        return
    from transformers import GenerationConfig

    suppressed = list(generation.suppressed) or None
    # optimum's class for Whisper derives from a module, and is never initialised as one.
    parts = model.modules() if hasattr(model, "_modules") else [model]
    for part in parts:
        if hasattr(part, "generation_config"):
            part.generation_config = GenerationConfig(
                do_sample=False,
                pad_token_id=0,
                suppress_tokens=suppressed,
                max_new_tokens=GENERATED_TOKENS,
            )
            for name in FORCED:
                if getattr(part.config, name, None) is not None:
                    setattr(part.config, name, None)


def begin_with(model: Any, generation: Generation, inputs: Mapping[str, Array]) -> None:
    """Lets a decoder's texts begin with the first given id; others would get a token in front.

    Args:
        model: whose `generation_config` is changed in place.
        generation: how it generates.
        inputs: with the decoder's ids, where it has its own.
    """
    if generation.argument == "decoder_input_ids":
        start = int(inputs["decoder_input_ids"][0, 0])
        model.generation_config.decoder_start_token_id = start


def generate(
    model: Any, generation: Generation, request: GenerationRequest, tensors: Tensors
) -> Generated:
    """Tokens, and the logits that each was chosen by.

    Args:
        model: that `make_greedy` has changed.
        generation: how it generates.
        request: from what, how many tokens, and in which way.
        tensors: makes the model's tensors of arrays.

    Returns:
        No logits where the model's own `generate()` does not pass them on, nor before
        transformers 4.38.

    Raises:
        Unsupported: tokens are to follow a text, and the model returns nothing that it keeps of it;
            or it tells the logits of some beams only, as `whisper` does.
    """
    given = {n: t if t.ndim else t.item() for n, t in tensors(request.inputs).items()}
    settings: dict[str, Any] = dict(request.settings)
    if request.assisted:
        settings["assistant_model"] = model
    begin_with(model, generation, request.inputs)
    if request.follow is None:
        return _generated(_generate(model, given, request.tokens, settings))
    follow = tensors({generation.argument: request.follow})[generation.argument]
    return _followed(model, generation.argument, request.tokens, given, follow)


def _followed(
    model: Any, argument: str, tokens: int, given: Mapping[str, Any], follow: Any
) -> Generated:
    """Several tokens at once after a text that is read already, and more after them."""
    import torch

    read = _generate(model, given, 1, {})
    takes = inspect.signature(model.forward).parameters
    name = next((name for name in CACHES if name in takes), None)
    kept = getattr(read, "past_key_values", None)
    if name is None or kept is None:
        raise Unsupported("generate() returns nothing that forward takes again as a cache")
    whole = torch.cat([given[argument], follow], dim=1)
    # An encoder's inputs come again; those of images are read.
    again = dict(given) if model.config.is_encoder_decoder else {}
    mask = argument.replace("input_ids", "attention_mask")
    if mask in takes and (mask in given or tokens):
        # Where a decoder has none, generate() takes all of its ids for new ones.
        before = given.get(mask, torch.ones_like(given[argument]))
        again[mask] = torch.cat([before, before.new_ones(follow.shape)], dim=1)
    if tokens:
        made = _generate(model, {**again, argument: whole, name: kept}, tokens, {})
        return _generated(made)
    answer = model(**{**again, argument: follow, name: kept}, return_dict=True)
    first = _generated(read).logits
    if first is None:
        raise Unsupported("generate() tells no logits of the text that is read")
    steps = np.concatenate([first, _array(answer.logits)[:, :-1]], axis=1)
    return Generated(whole.cpu().numpy(), steps)


def _generate(model: Any, given: Mapping[str, Any], tokens: int, settings: Any) -> Any:
    from transformers import GenerationConfig

    told = {"output_logits": True} if hasattr(GenerationConfig(), "output_logits") else {}
    return model.generate(
        **given, max_new_tokens=tokens, return_dict_in_generate=True, **told, **settings
    )


def _generated(raw: Any) -> Generated:
    import torch

    if isinstance(raw, torch.Tensor):
        return Generated(raw.cpu().numpy())
    sequences, steps = raw.sequences, getattr(raw, "logits", None)
    if not steps:
        return Generated(sequences.cpu().numpy())
    logits = torch.stack(tuple(steps))
    beams = getattr(raw, "beam_indices", None)
    if beams is not None:
        # The logits of all beams at each step, of which each token of a sequence comes from one.
        beams = beams[:, : len(steps)]
        if int(beams.max()) >= logits.shape[1]:
            raise Unsupported("generate() tells no logits of each beam")
        logits = torch.stack([logits[step][beams[:, step]] for step in range(beams.shape[1])])
    return Generated(sequences.cpu().numpy(), _array(logits.transpose(0, 1)))


def _array(tensor: Any) -> Array:
    made: Array = tensor.float().cpu().numpy()
    return made
