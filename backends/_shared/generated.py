"""Answer of `generate()` in transformers, as arrays."""

from __future__ import annotations

from typing import Any

import torch

from harness.contract import Generated

#: Arguments of `generate()` that make it return its logits beside the tokens.
WITH_LOGITS = {"output_logits": True, "return_dict_in_generate": True}


def generated(raw: Any) -> Generated:
    """The tokens, and the logits where the model's own `generate()` passes them on.

    Args:
        raw: what `generate()` returned: an output class with `sequences` and one tensor of
            logits a step, or the token ids alone.
    """
    if isinstance(raw, torch.Tensor):
        return Generated(raw.cpu().numpy())
    logits = getattr(raw, "logits", None)
    return Generated(
        raw.sequences.cpu().numpy(),
        torch.stack(tuple(logits), dim=1).float().cpu().numpy() if logits else None,
    )
