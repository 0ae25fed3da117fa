"""Damaged key-value caches: negative control of what is said about generation.

A model in `damaged` generates as usual, but for what it keeps of the tokens before: keys and
values of attention (`gpt2`), states of a recurrence (`mamba`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: Arguments of forward that hold a cache, beside those whose class is called one.
ARGUMENTS = ("past_key_values", "past_key_value", "cache_params", "past_buckets_states", "mems")

#: What an encoder said is no memory of the generated text: damage to it shows anyway.
CROSS = "cross_attention_cache"


def zeroed(name: str, tensor: Any) -> None:
    """The past is forgotten."""
    tensor.zero_()


def shifted(name: str, tensor: Any) -> None:
    """Keys lie one place beside their values: (batch, heads, length, size). States stay."""
    if name in ("keys", "values") and tensor.ndim == 4:
        tensor.copy_(tensor.roll(1, dims=2))


def of_another_row(name: str, tensor: Any) -> None:
    """Each row of the batch remembers another one's text."""
    tensor.copy_(tensor.roll(1, dims=0))


#: Ways of damage by name.
DAMAGES: Mapping[str, Callable[[str, Any], None]] = {
    "zeroed": zeroed,
    "shifted": shifted,
    "of another row": of_another_row,
}


@contextlib.contextmanager
def damaged(module: Any, damage: str) -> Iterator[list[int]]:
    """Damages the cache before each inference of a module, or of the part of it that generates.

    Args:
        module: a `torch.nn.Module`.
        damage: one of `DAMAGES`.

    Yields:
        A list that grows by the number of tensors at each inference that was given a cache.
    """
    change, touched, depth = DAMAGES[damage], list[int](), 0

    def before(_: Any, given: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            found = list(_tensors([*given, keywords], set()))
            for name, tensor in found:
                change(name, tensor)
            if found:
                touched.append(len(found))

    def after(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    takers = [m for m in module.modules() if _takes_cache(m)]
    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in takers]
    hooks += [m.register_forward_hook(after, always_call=True) for m in takers]
    try:
        yield touched
    finally:
        for hook in hooks:
            hook.remove()


def _takes_cache(module: Any) -> bool:
    import inspect

    return any(name in ARGUMENTS for name in inspect.signature(module.forward).parameters)


def _tensors(given: Any, seen: set[int], name: str = "", *, inside: bool = False) -> Iterator[Any]:
    """(attribute's name, tensor) of all floating tensors of the caches among arguments."""
    import torch

    if id(given) in seen or name == CROSS:
        return
    seen.add(id(given))
    if isinstance(given, torch.Tensor):
        if inside and given.numel() and given.is_floating_point():
            yield name, given
    elif isinstance(given, dict):
        for key, value in given.items():
            held = inside or key in ARGUMENTS
            yield from _tensors(value, seen, str(key) if not inside else name, inside=held)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _tensors(value, seen, name, inside=inside)
    elif inside or type(given).__name__.endswith("Cache"):
        for key, value in getattr(given, "__dict__", {}).items():
            yield from _tensors(value, seen, key, inside=True)
