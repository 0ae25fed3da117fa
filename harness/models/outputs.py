"""Model outputs as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contract import Arrays

#: Caches and other state: they repeat what the outputs were computed from.
STATE = (
    "past_key_values",
    "cache_params",
    "state",
    "padding_cache",
    "decoder_cache",
    "encoder_past_key_values",
)


def flatten(outputs: Any, name: str = "") -> Arrays:
    """The tensors of a model's output (`tensors`) as numpy arrays, float16 and bfloat16 as float32.

    Args:
        outputs: what a forward returned.
        name: prefix of the names.
    """
    import torch

    found: Arrays = {}
    for key, tensor in tensors(outputs, name).items():
        held = tensor.detach()
        if held.dtype in (torch.bfloat16, torch.float16):
            held = held.float()
        # A copy: a model may return one of its own weights, or a buffer that it uses again.
        found[key] = held.cpu().numpy().copy()
    return found


def tensors(outputs: Any, name: str = "") -> dict[str, Any]:
    """Every tensor of a model's output by name, complex ones as pairs of real numbers.

    Args:
        outputs: a tensor, a ModelOutput, or nested tuples, lists and mappings of them; anything
            else (None, caches, numbers) is left out.
        name: prefix of the names; a nested tensor is called `hidden_states.0`.
    """
    import torch

    if isinstance(outputs, torch.Tensor):
        real = torch.view_as_real(outputs) if outputs.is_complex() else outputs
        return {name or "output": real}
    found: dict[str, Any] = {}
    if isinstance(outputs, Mapping):
        for key, value in outputs.items():
            # Fused attention has no attention weights; a model may return what its kernel leaves.
            if key not in STATE and "attentions" not in str(key):
                found.update(tensors(value, f"{name}.{key}" if name else str(key)))
    elif isinstance(outputs, list | tuple):
        for i, value in enumerate(outputs):
            found.update(tensors(value, f"{name}.{i}" if name else str(i)))
    return found
