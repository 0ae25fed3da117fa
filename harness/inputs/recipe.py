"""Input recipes: what a model's signature can't tell about its inputs, read from `recipe.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile

RECIPES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Input recipe of one architecture, beside its signature: one row of `recipe.toml`.

    A size in `shapes`, and `image_tokens` and its like in `options`, is a number, or a field of the
    config where that is another one at the published widths: `hidden_size`,
    `audio_config.num_mel_bins`, `2 * num_query_tokens`.
    """

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()  # of media, which the padded variants have although dropped
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # shapes of random token ids
    special: tuple[int, ...] = ()  # ids that the modeling code gives a meaning, as no config says
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of forward, that are no arrays
    seeded: bool = False  # forward draws random numbers, the same ones under one seed
    plain_attention: str = "eager"  # what the reference computes attention with
    reference: str = "float64"  # the widest dtype that the reference is computed in
    generated: Mapping[str, int] = field(default_factory=dict)  # an argument at each new token; 0
    length: int | None = None  # the least
    batch: int | None = None
    reason: str = ""


@cache
def recipes() -> Mapping[str, Recipe]:
    """The tables of `recipe.toml`, by model type or the name of a model's class."""
    source = TomlFile(RECIPES)
    source.check_tables(keys_of(Recipe))
    return {
        name: Recipe(
            add=tuple(t.get("add", ())),
            drop=tuple(t.get("drop", ())),
            masks=tuple(t.get("masks", ())),
            shapes={k: tuple(v) for k, v in t.get("shapes", {}).items()},
            values=t.get("values", {}),
            ids={k: tuple(v) for k, v in t.get("ids", {}).items()},
            special=tuple(t.get("special", ())),
            options=t.get("options", {}),
            arguments=t.get("arguments", {}),
            seeded=t.get("seeded", False),
            plain_attention=t.get("plain_attention", "eager"),
            reference=t.get("reference", "float64"),
            generated=t.get("generated", {}),
            length=t.get("length"),
            batch=t.get("batch"),
            reason=t.get("reason", ""),
        )
        for name, t in source.tables.items()
    }


def recipe_of(config: Any, model: str = "") -> Recipe:
    """The recipe for a model class of that name, else for a config's model type, else none."""
    known = recipes()
    return known.get(model) or known.get(getattr(config, "model_type", ""), Recipe())
