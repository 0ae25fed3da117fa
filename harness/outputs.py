"""Model outputs as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contract import Arrays

#: Caches and other state: they repeat what the outputs were computed from.
_STATE = (
    "past_key_values",
    "cache_params",
    "state",
    "padding_cache",
    "decoder_cache",
    "encoder_past_key_values",
)


def flatten(outputs: Any, name: str = "") -> Arrays:
    """Every tensor of a model's output by name, as numpy arrays (bfloat16 as float32).

    Args:
        outputs: a tensor, a ModelOutput, or nested tuples, lists and mappings of them; anything
            else (None, caches, numbers) is left out.
        name: prefix of the names; a nested tensor is called `hidden_states.0`.
    """
    import torch

    if isinstance(outputs, torch.Tensor):
        tensor = outputs.detach()
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor = tensor.float()
        # A copy: a model may return one of its own weights, or a buffer that it uses again.
        return {name or "output": tensor.cpu().numpy().copy()}
    found: Arrays = {}
    if isinstance(outputs, Mapping):
        for key, value in outputs.items():
            # Fused attention has no attention weights; a model may return what its kernel leaves.
            if key not in _STATE and "attentions" not in str(key):
                found.update(flatten(value, f"{name}.{key}" if name else str(key)))
    elif isinstance(outputs, list | tuple):
        for i, value in enumerate(outputs):
            found.update(flatten(value, f"{name}.{i}" if name else str(i)))
    return found
