"""Arguments that a model gets, of those in the signature of its `forward`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contract import PROCESSED, WITH_VIDEO
from harness.inputs.recipe import Recipe
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import STRINGS, TABLE, Key

#: The keys of `wanted.toml`.
KEYS: Mapping[str, Key] = {
    **dict.fromkeys(
        (
            "usual",
            "main",
            "text",
            "companions",
            "sound_masks",
            "image_masks",
            "condition_masks",
            "processed",
            "video",
        ),
        Key("Arguments.", STRINGS, required=True),
    ),
    "switched": Key("Config fields, by argument.", TABLE, required=True, keys=Key("A field.")),
    "derived": Key(
        "Arguments, by the end of a class's name.",
        TABLE,
        required=True,
        keys=Key("Arguments.", STRINGS),
    ),
}


def arguments() -> Mapping[str, Any]:
    """Names of forward arguments by kind, from `wanted.toml`."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_top(KEYS)
    return {key: source.tables[key] for key in KEYS}


(
    USUAL,
    MAIN,
    TEXT,
    COMPANIONS,
    SOUND_MASKS,
    IMAGE_MASKS,
    CONDITION_MASKS,
    SENT,
    VIDEO,
    SWITCHED,
    DERIVED,
) = arguments().values()

#: Arguments that a variant has beside the plain ones.
FURTHER: Mapping[str, list[str]] = {PROCESSED: SENT, WITH_VIDEO: VIDEO}

#: Masks by the medium that they are of; a condition is what a switched argument holds, as an
#: encoder's states in BERT's cross-attention.
MASKS: Mapping[str, list[str]] = {
    "sound": SOUND_MASKS,
    "image": IMAGE_MASKS,
    "condition": CONDITION_MASKS,
}


def wanted_arguments(
    module: Any,
    config: Any,
    parameters: Mapping[str, inspect.Parameter],
    recipe: Recipe,
    *,
    masked: str,
    variant: str,
) -> list[str]:
    """The arguments to make, media before the text that holds their placeholders.

    Args:
        module: a torch module; only its `main_input_name` is asked.
        config: the module's.
        parameters: of its forward, by name.
        recipe: of the architecture.
        masked: the medium whose masks are wanted although a plain call leaves them out, or "".
        variant: of the inputs; those of `FURTHER` have more arguments.
    """
    names = [
        n
        for n, p in parameters.items()
        if p.default is inspect.Parameter.empty and n not in recipe.drop
    ]
    main = getattr(module, "main_input_name", None)
    mains = [main] if isinstance(main, str) else list(main or ())
    names += [name for name in (*mains, *USUAL) if name in parameters]
    if "input_ids" not in names and "inputs_embeds" in parameters and set(names).isdisjoint(MAIN):
        names.append("inputs_embeds")
    names += recipe.add
    switched = [n for n, field in SWITCHED.items() if n in parameters and vars(config).get(field)]
    names += switched
    kept = recipe.masks if masked else ()
    if masked and (masked != "condition" or switched):
        names += [n for n in (*MASKS.get(masked, ()), *kept) if n in parameters]
    names += [n for n in FURTHER.get(variant, ()) if n in parameters]
    cls = type(module).__name__
    derived = {n for end, made in DERIVED.items() if cls.endswith(end) for n in made}
    unique = [
        n for n in dict.fromkeys(names) if n not in derived and (n not in recipe.drop or n in kept)
    ]
    return sorted(unique, key=lambda n: (n in TEXT, n in COMPANIONS))
