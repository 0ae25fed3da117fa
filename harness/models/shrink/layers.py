"""Layers that a small config keeps: one of each kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from harness.models.shrink.configs import Config

MAX_LAYERS = 6

#: Lists of kinds of layers that repeat until there are as many as layers, as RecurrentGemma's.
_PATTERN = re.compile(r"(block|layer)s?_(types?|pattern)")

#: Lists of the kind of each layer, which few layers are all kept for.
_KINDS = re.compile(r"layer_types|layers_block_type")

#: Lists of the layers that attend globally (SAM's `global_attn_indexes`) or hand on their output:
#: the last layer of a small model.
LAYER_INDICES = re.compile(
    r"(global_attn|fullatt_block|deepstack_visual)_indexes|cross_attention_layers"
)

#: Counts of the last layers, which take keys and values from those before (Gemma 3n's).
SHARED_LAYERS = re.compile(r"num_kv_shared_layers")


@dataclass(frozen=True, slots=True)
class KeptLayers:
    """The layers of an unshrunk config that a small one keeps.

    Attributes:
        count: how many layers the unshrunk config has.
        indices: of the kept ones, in ascending order.
    """

    count: int
    indices: tuple[int, ...]

    def of_the_last(self, count: int) -> int:
        """How many of the last `count` layers are kept."""
        return sum(index >= self.count - count for index in self.indices)


def kept_layers(plain: Config) -> KeptLayers | None:
    """The first layer of each kind, and more up to the least number that makes a model.

    None where layers aren't counted by one number (stage models, as Swin, have `depths`). A config
    that names the kind of each of a few layers means just these, as a branch whose layers share
    weights in turns: all are kept.
    """
    count = layer_count(plain)
    if count is None or "depths" in vars(plain):
        return None
    lists = [value for name, value in vars(plain).items() if is_per_layer(name, value, plain)]
    if count <= MAX_LAYERS and any(
        _KINDS.fullmatch(name) and is_per_layer(name, value, plain)
        for name, value in vars(plain).items()
    ):
        return KeptLayers(count, tuple(range(count)))
    for name, value in vars(plain).items():
        if SHARED_LAYERS.fullmatch(name) and isinstance(value, int) and 0 < value < count:
            lists.append([i >= count - value for i in range(count)])
    least = max([2, *(len(kinds(v)) for n, v in vars(plain).items() if is_pattern(n, v))])
    seen: dict[tuple[Any, ...], int] = {}
    for i in range(count):
        seen.setdefault(tuple(value[i] for value in lists), i)
    indices = sorted(seen.values())[:MAX_LAYERS]
    outputs = vars(plain).get("_out_indices") or ()
    for i in range(count):
        if len(indices) >= min(max(least, len(outputs)), count):
            break
        if i not in indices:
            indices.append(i)
    return KeptLayers(count, tuple(sorted(indices)))


def layer_count(config: Config) -> int | None:
    """How many layers a config has; a property counts a list of them."""
    if isinstance(getattr(type(config), "num_hidden_layers", None), property):
        return int(config.num_hidden_layers)
    for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers"):
        value = vars(config).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def is_per_layer(name: str, value: Any, plain: Config) -> bool:
    """Whether a field lists one plain value for each layer, as `layer_types` does."""
    count = layer_count(plain)
    return (
        count is not None
        and count > 1
        and isinstance(value, list | tuple)
        and len(value) == count
        and not name.startswith("_")
        and all(isinstance(item, str | int | float | bool | type(None)) for item in value)
    )


def is_pattern(name: str, value: Any) -> bool:
    """Whether a field lists kinds of layers by name."""
    return (
        _PATTERN.fullmatch(name) is not None
        and isinstance(value, list | tuple)
        and all(isinstance(item, str) for item in value)
    )


def kinds(pattern: list[str] | tuple[str, ...]) -> list[str]:
    """Each kind of layer once, in order."""
    return list(dict.fromkeys(pattern))
