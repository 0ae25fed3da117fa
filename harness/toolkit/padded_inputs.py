"""Padded inputs: a batch whose last row is shorter and filled up again, on the left or the right.

The attention mask says which tokens are real.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from harness.contract import Arrays, Case
from harness.toolkit.padding_exemptions import PADDED, exemptions_of

Side = Literal["left", "right"]

#: Variants with a padded row, and the side where padding stands.
SIDES: Mapping[str, Side] = {"left-padded": "left", "right-padded": "right"}

MASK = "attention_mask"

#: Arguments whose tokens the mask speaks of; the first that the inputs have.
TEXT = ("input_ids", "inputs_embeds")

#: Arguments with a value for each token. Padding is 0 in all of them but the ids.
PER_TOKEN = (
    *TEXT,
    MASK,
    "token_type_ids",
    "mm_token_type_ids",
    "bbox",
    "image_attention_mask",
    "cross_attention_mask",
    "image_embeds_position_mask",
)

#: Tokens that the last row loses; a power of two for models that pool neighbours, as Funnel does.
SHORTER = 4

#: The length of the shortest text that can lose that many.
SHORTEST = 2 * SHORTER


def can_be_padded(base: Arrays) -> bool:
    """Whether a model with these inputs takes a mask of text that can be made shorter."""
    text = next((base[name] for name in TEXT if name in base), None)
    mask = base.get(MASK)
    return (
        text is not None
        and mask is not None
        and mask.ndim == 2
        and text.shape[:2] == mask.shape
        and mask.shape[1] >= SHORTEST
    )


def padded_batches(case: Case, base: Arrays) -> dict[str, Arrays]:
    """The padded batches that a model takes, by variant; none where it takes none.

    Args:
        case: the model.
        base: its plain inputs.
    """
    if not can_be_padded(base) or PADDED in exemptions_of(case):
        return {}
    short = shortened(base)
    return {name: padded(base, short, side, case.padding()) for name, side in SIDES.items()}


def shortened(base: Arrays) -> Arrays:
    """The inputs without the `SHORTER` tokens before the last, which may mark the text's end.

    In C order, as a tokenizer makes them: TAPAS views its types of tokens as one axis.
    """
    length = base[MASK].shape[1]
    lost = np.arange(length - 1 - SHORTER, length - 1)
    return {
        name: np.ascontiguousarray(np.delete(value, lost, axis=1))
        if is_per_token(base, name)
        else value
        for name, value in base.items()
    }


def padded(base: Arrays, short: Arrays, side: Side, token: int) -> Arrays:
    """The plain inputs with the last row of the shortened ones, filled up on one side.

    Args:
        base: the plain inputs.
        short: those from `shortened`.
        side: where padding stands.
        token: the id that stands there.
    """
    made = dict(base)
    for name in base:
        if is_per_token(base, name):
            value = made[name] = base[name].copy()
            value[-1] = token if name == "input_ids" else 0
            left = short[name].shape[1]
            value[-1, -left if side == "left" else 0 :][:left] = short[name][-1]
    return made


def is_per_token(base: Arrays, name: str) -> bool:
    """Whether an input has a value for each token of the mask: (rows, length, ...)."""
    return name in PER_TOKEN and base[name].shape[:2] == base[MASK].shape
