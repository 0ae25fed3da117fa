"""Example inputs for a model, from the signature of its `forward` and its config.

Each forward argument has one function that makes its value (`text`, `image`, `sound`, `series`,
`graph`); which arguments a model gets follows from its signature. What the signature can't tell (a
tile count, a prompt) is data: `harness/inputs/recipe.toml`.
"""

from __future__ import annotations

from typing import Any

from harness.contract import Arrays
from harness.inputs import graph, image, series, sound, text
from harness.inputs.config_reader import ConfigReader, padding_id, text_config
from harness.inputs.input_maker import Function, InputMaker
from harness.inputs.recipe import Recipe, recipe_of, recipes

__all__ = [
    "ARGUMENTS",
    "Recipe",
    "example_inputs",
    "padding_id",
    "recipe_of",
    "recipes",
    "special_ids",
    "text_config",
]

#: Argument of forward -> the function that makes its example.
ARGUMENTS: dict[str, Function] = {
    **text.ARGUMENTS,
    **image.ARGUMENTS,
    **sound.ARGUMENTS,
    **series.ARGUMENTS,
    **graph.ARGUMENTS,
}


def example_inputs(
    module: Any, config: Any, *, seed: int, variant: str = "base", batch: int = 2, length: int = 16
) -> Arrays:
    """Inputs for `module.forward`, by argument name.

    Args:
        module: a torch module; only its `forward` signature, its main input's name and its
            feature extractors (`get_image_features`, ...) are asked.
        config: the module's config.
        seed: of the values.
        variant: another name gives other values of the same shapes.
        batch: rows.
        length: tokens of a text input.

    Raises:
        LookupError: a required argument that nothing here knows how to make.
    """
    recipe = recipe_of(config, type(module).__name__)
    maker = InputMaker(
        module,
        config,
        seed,
        variant,
        recipe.batch or batch,
        max(recipe.length or 0, length),
        recipe,
        ARGUMENTS,
    )
    return maker.make()


def special_ids(module: Any, config: Any) -> tuple[int, ...]:
    """The token ids of a config and its parts that are no text, in ascending order."""
    reader = ConfigReader(module, config, 0, "", 1, 1, Recipe())
    return tuple(sorted(reader.specials))
