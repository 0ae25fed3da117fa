"""Fields that a head's class wants set, which the headless model has no use for.

A decoder's classifier reads its text's last token: the last whose id is not `pad_token_id`. Llama's
config has no such id, and its users set one before they classify a batch. T5's classifier makes its
decoder's text itself, and its config class does not say what begins it, as published configs do.
"""

from __future__ import annotations

from typing import Any

from harness.catalog.heads import known_heads
from harness.inputs import special_ids, text_config


def complete(config: Any, head: str) -> None:
    """Gives a config a padding id that no text holds, where the head asks for one.

    An encoder-decoder whose config names no first token of its decoder's texts begins them with
    padding, as T5's checkpoints do.

    The id is the last of the vocabulary that no special token has. An id that also ends texts, as
    GPT-2's users reuse it, is replaced: example texts end with it.

    Args:
        config: of the model, or of a composite of whose text it is; changed in place.
        head: `base` or a task.
    """
    row = known_heads().get(head)
    if row is None or not row.pad_id:
        return
    text = text_config(config)
    size = getattr(text, "vocab_size", None)
    if not isinstance(size, int):
        return
    holders = [c for c in (text, config) if not _has_padding_id(c)]
    if holders:
        taken = {*special_ids(None, text), *special_ids(None, config)}
        free = next(i for i in reversed(range(size)) if i not in taken)
        for holder in holders:
            holder.pad_token_id = free
    shifts = getattr(config, "is_encoder_decoder", False)
    if shifts and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id


def _has_padding_id(config: Any) -> bool:
    """Whether a config has a padding id of its own, which ends no text."""
    ends = getattr(config, "eos_token_id", None)
    found = getattr(config, "pad_token_id", None)
    return found is not None and found not in (ends if isinstance(ends, list) else [ends])
