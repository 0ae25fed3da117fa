"""What a model's config and signature say, and seeded values of what they ask for."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.inputs.recipe import Recipe
from harness.toolkit.seeded_values import integers, uniform

#: Sub-configs by what they encode, in the order in which a composite is asked for them.
VISION = (
    "vision_config",
    "visual_config",
    "image_config",
    "vit_config",
    "vision_encoder_config",
    "image_model_config",
    "backbone_config",
    "vision_encoder",
)
AUDIO = (
    "audio_config",
    "audio_encoder_config",
    "speech_config",
    "sound_config",
    "encoder_config",
    "audio_encoder",
    "acoustic_tokenizer_encoder_config",
)


def padding_id(config: Any) -> int:
    """The id of the padding token: that of the text's config, or of the model's; 0 without one."""
    get = getattr(config, "get_text_config", None)
    try:
        text = get() if get else config
    except Exception:
        text = config
    size = getattr(text, "vocab_size", None)
    for holder in (text, config):
        found = getattr(holder, "pad_token_id", None)
        if isinstance(found, int) and 0 <= found < (size if isinstance(size, int) else math.inf):
            return found
    return 0


class ConfigReader:
    """Asks one model's config, signature and recipe, and makes values of the run's seed.

    Args:
        module: a torch module.
        config: its config.
        seed: of the values.
        variant: another name gives other values.
        batch: rows.
        length: tokens of a text.
        recipe: what the signature can't tell.
    """

    def __init__(
        self,
        module: Any,
        config: Any,
        seed: int,
        variant: str,
        batch: int,
        length: int,
        recipe: Recipe,
    ) -> None:
        self.module = module
        self.config = config
        self.seed = seed
        self.variant = variant
        self.batch = batch
        self.length = length
        self.recipe = recipe
        self.parameters = {
            p.name: p
            for p in inspect.signature(module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        self.made: Arrays = {}

    def configs(self) -> Iterator[Any]:
        """The config and its sub-configs, breadth first."""
        queue = [self.config]
        while queue:
            config = queue.pop(0)
            yield config
            queue += [
                v
                for v in vars(config).values()
                if hasattr(v, "model_type") and hasattr(v, "to_dict")
            ]

    def find(self, *names: str, default: Any = None, within: Any = None) -> Any:
        """The first of these fields that any config has, the outermost config first."""
        for config in [within] if within is not None else self.configs():
            for name in names:
                value = vars(config).get(name)
                if value is None:
                    value = getattr(type(config), "attribute_map", {}).get(name) and getattr(
                        config, name, None
                    )
                if value is not None:
                    return value
        return default

    def sub(self, names: tuple[str, ...]) -> Any:
        """The first sub-config of these names, else the config itself."""
        for name in names:
            value = getattr(self.config, name, None)
            if value is not None and hasattr(value, "to_dict"):
                return value
        for config in self.configs():
            for name in names:
                value = vars(config).get(name)
                if value is not None and hasattr(value, "to_dict"):
                    return value
        return self.config

    @cached_property
    def text(self) -> Any:
        """The config that counts the vocabulary of `input_ids`."""
        get = getattr(self.config, "get_text_config", None)
        try:
            found = get() if get else None
        except Exception:
            found = None
        return found if found is not None else self.config

    @cached_property
    def vision(self) -> Any:
        """The config of what reads images."""
        return self.sub(VISION)

    @cached_property
    def audio(self) -> Any:
        """The config of what reads sound."""
        return self.sub(AUDIO)

    def floats(self, name: str, *shape: int) -> Array:
        """Float32 values of mean 0 and standard deviation 1."""
        return uniform(self.seed, f"input/{self.variant}/{name}", tuple(shape)) * np.float32(
            math.sqrt(3.0)
        )

    def ints(self, name: str, shape: tuple[int, ...], low: int, high: int) -> Array:
        """Int64 values in [low, high)."""
        return integers(self.seed, f"input/{self.variant}/{name}", shape, low, max(low + 1, high))

    @cached_property
    def vocabulary(self) -> int:
        """How many token ids the text's embedding has."""
        for config in (self.text, *self.configs()):
            for name in (
                "vocab_size",
                "text_vocab_size",
                "src_vocab_size",
                "num_embeddings",
                "codebook_size",
                "audio_vocab_size",
            ):
                value = getattr(config, name, None)
                if isinstance(value, int) and value > 1:
                    return value
        return 128

    @cached_property
    def specials(self) -> set[int]:
        """Every special id of any config: random text must hold none of them."""
        found: set[int] = set()
        for config in self.configs():
            for name, value in vars(config).items():
                if name.endswith(
                    (
                        "_token_id",
                        "_token_index",
                        "_token_idx",
                        "_id",
                        "_index",
                        "_token_ids",
                        "image_token",
                    )
                ):
                    values = value if isinstance(value, list | tuple) else [value]
                    found |= {v for v in values if isinstance(v, int) and not isinstance(v, bool)}
        return found

    def tokens(self, name: str, *shape: int, vocabulary: int | None = None) -> Array:
        """Random token ids, none of them special."""
        size = vocabulary or self.vocabulary
        plain = np.array([i for i in range(size) if i not in self.specials] or list(range(size)))
        return plain[self.ints(name, shape, 0, len(plain))].astype(np.int64)

    @cached_property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.find("hidden_size", "d_model", default=64))

    def documented(self, name: str) -> tuple[str, ...]:
        """The dimensions that the docstring of `forward` names for an argument, or none."""
        text = inspect.getdoc(self.module.forward) or ""
        found = re.search(rf"^ *{name} \([^\n]*?of shape `?\(([^`\n]*?)\)`?", text, re.MULTILINE)
        return tuple(part.strip() for part in found[1].split(",")) if found else ()

    def has(self, *names: str) -> bool:
        """Whether forward takes any of these arguments."""
        return any(n in self.parameters for n in names)
