"""Damaged key-value caches: negative control of what is said about generation.

A model in `damaged` generates as usual, but for what it keeps of the tokens before: keys and
values of attention (`gpt2`), states of a recurrence (`mamba`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from harness.contract import Array, Generated, Generation, GenerationRequest
from harness.toolkit import greedy_generation
from harness.toolkit.cpu_seed import seed_cpu

#: Arguments of forward that hold a cache, beside those whose class is called one.
ARGUMENTS = ("past_key_values", "past_key_value", "cache_params", "past_buckets_states", "mems")

#: Keys and values of the encoder, no memory of the generated text: damage to them shows anyway.
CROSS = "cross_attention_cache"


def zeroed(name: str, tensor: Any) -> bool:
    """The past is forgotten; whether there was one."""
    some = bool(tensor.any())
    tensor.zero_()
    return some


def shifted(name: str, tensor: Any) -> bool:
    """Keys and values, (batch, heads, length, size), lie one place later; the last one is lost."""
    if name not in ("keys", "values") or tensor.ndim != 4:
        return False
    changed = _rolled(tensor, 2)
    tensor[:, :, 0] = 0
    return changed


def of_another_row(name: str, tensor: Any) -> bool:
    """Each row of the batch remembers another one's text; whether it differs."""
    return _rolled(tensor, 0)


def _rolled(tensor: Any, axis: int) -> bool:
    before = tensor.clone()
    tensor.copy_(before.roll(1, dims=axis))
    return not bool(tensor.equal(before))


#: Ways of damage by name.
DAMAGES: Mapping[str, Callable[[str, Any], bool]] = {
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
        A list that grows by the number of tensors that were changed, at each inference with any.
    """
    change, touched, depth = DAMAGES[damage], list[int](), 0

    def before(_: Any, given: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            found = list(_tensors([*given, keywords], set()))
            changed = [change(name, tensor) for name, tensor in found]
            if any(changed):
                touched.append(sum(changed))

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


def generate(
    module: Any,
    generation: Generation,
    request: GenerationRequest,
    damage: str | None,
    seed: int,
) -> Generated | None:
    """Generation on the CPU in float32, the cache damaged before each inference.

    Args:
        module: a float32 model; it is changed.
        generation: how it generates.
        request: the text to generate, and the way.
        damage: one of `DAMAGES`; None for none.
        seed: of the global random generator.

    Returns:
        None where the damage found nothing to touch.
    """
    import torch

    def tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    greedy_generation.make_greedy(module, generation)
    seed_cpu(seed)
    with torch.inference_mode():
        if damage is None:
            return greedy_generation.generate(module, generation, request, tensors)
        with damaged(module, damage) as touched:
            made = greedy_generation.generate(module, generation, request, tensors)
    return made if touched else None


def _takes_cache(module: Any) -> bool:
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
