"""Sizes of a model's arguments, from its config and the signature of its `forward`."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array
from harness.inputs.example_values import ExampleValues
from harness.inputs.recipe import Recipe
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import STRINGS, Key

#: The keys of `config_reader.toml`.
KEYS: Mapping[str, Key] = dict.fromkeys(
    ("vision", "audio", "vocabulary", "channels", "side", "merge", "mels", "feature_rows"),
    Key("Fields that mean the same.", STRINGS, required=True),
)


def fields() -> Mapping[str, list[str]]:
    """Names of config fields by meaning, from `config_reader.toml`."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_top(KEYS)
    return source.tables


#: Fields that mean the same in one config class or another, in the order in which they are asked.
FIELDS: Mapping[str, list[str]] = fields()


#: Endings of fields with the id of a special token, or several.
SPECIAL = ("_token_idx", "_id", "_index", "_token_ids", "image_token")


def text_config(config: Any) -> Any:
    """The config that counts the vocabulary of `input_ids`: the text's part, or the whole."""
    get = getattr(config, "get_text_config", None)
    try:
        found = get() if get else None
    except Exception:  # some composites have two texts, and refuse to say which is meant
        found = None
    return found if found is not None else config


def padding_id(config: Any) -> int:
    """The id of the padding token: that of the text's config, or of the model's; 0 without one."""
    text = text_config(config)
    size = getattr(text, "vocab_size", None)
    for holder in (text, config):
        found = getattr(holder, "pad_token_id", None)
        if isinstance(found, int) and 0 <= found < (size if isinstance(size, int) else math.inf):
            return found
    return 0


@dataclass(eq=False)
class ConfigReader(ExampleValues):
    """Finds in one model's config and signature the sizes of its arguments.

    Attributes:
        recipe: what signature and config can't tell.
    """

    recipe: Recipe

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of forward that have a name."""
        return {
            p.name: p
            for p in inspect.signature(self.module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }

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

    def sub(self, names: Sequence[str]) -> Any:
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
        return text_config(self.config)

    @cached_property
    def vision(self) -> Any:
        """The config of what reads images."""
        return self.sub(FIELDS["vision"])

    @cached_property
    def audio(self) -> Any:
        """The config of what reads sound."""
        return self.sub(FIELDS["audio"])

    @cached_property
    def vocabulary(self) -> int:
        """How many token ids the text's embedding has."""
        for config in (self.text, *self.configs()):
            for name in FIELDS["vocabulary"]:
                value = getattr(config, name, None)
                if isinstance(value, int) and value > 1:
                    return value
        return 128

    @cached_property
    def specials(self) -> set[int]:
        """Every special id of any config or the recipe: random text must hold none of them."""
        found = set(self.recipe.special)
        for config in self.configs():
            for name, value in vars(config).items():
                if name.endswith(SPECIAL):
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
