"""Padding: rows of a batch that are filled up to one length, with the mask saying so.

The last row of the batch loses some of its tokens and is filled up again, on the left or on the
right.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.contract import Arrays

Side = Literal["left", "right"]

MASK = "attention_mask"

#: What the mask is about; the first that the inputs have.
TEXT = ("input_ids", "inputs_embeds")

#: Arguments with a value for each token; where a row is filled up, those but the ids are 0.
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

#: How many tokens the last row loses; a power of two for models that pool neighbours.
SHORTER = 4

#: Fewer tokens than this can't lose that many.
SHORTEST = 2 * SHORTER


def applies(base: Arrays) -> bool:
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


def shortened(base: Arrays) -> Arrays:
    """The inputs without some tokens before the last, which may mark the end of the text."""
    length = base[MASK].shape[1]
    lost = np.arange(length - 1 - SHORTER, length - 1)
    return {
        name: np.delete(value, lost, axis=1) if is_per_token(base, name) else value
        for name, value in base.items()
    }


def padded(base: Arrays, short: Arrays, side: Side, token: int) -> Arrays:
    """The base inputs, the last row of them being the short one's, filled up on one side.

    Args:
        base: the plain inputs.
        short: what `shortened` made of them.
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
    """Whether an input has a value for each token that the mask speaks of."""
    return name in PER_TOKEN and base[name].shape[:2] == base[MASK].shape
