"""Caches of transformers in the form that a graph takes: all tokens in one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def without_windows(given: Mapping[str, Any], length: int = 0) -> None:
    """Replace layers that forget tokens beyond a window by layers that keep all, before their use.

    A layer with a window counts its tokens in Python, and takes another path once the window is
    full: each step would be a graph of its own. The mask hides what is outside of the window.

    Args:
        given: arguments of a call; empty layers of the caches among them are replaced.
        length: of a static cache, in tokens.
    """
    from transformers.cache_utils import (
        DynamicLayer,
        DynamicSlidingWindowLayer,
        StaticLayer,
        StaticSlidingWindowLayer,
    )

    for cache in caches_in(given):
        for index, layer in enumerate(cache.layers):
            if type(layer) is DynamicSlidingWindowLayer and not layer.is_initialized:
                cache.layers[index] = DynamicLayer()
            elif type(layer) is StaticSlidingWindowLayer and not layer.is_initialized:
                cache.layers[index] = StaticLayer(length)


def caches_in(given: Mapping[str, Any]) -> Iterator[Any]:
    """The caches with layers among arguments, those of an encoder and a decoder one by one."""
    from transformers import Cache, EncoderDecoderCache

    for value in given.values():
        if isinstance(value, EncoderDecoderCache):
            yield from (value.self_attention_cache, value.cross_attention_cache)
        elif isinstance(value, Cache):
            yield value
