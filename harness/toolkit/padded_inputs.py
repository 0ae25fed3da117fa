"""Padded inputs: a batch whose last row is shorter and filled up again, on the left or the right.

The attention mask says which tokens are real.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from harness.contract import MASKED_MEDIA, Array, Arrays, Case, Unsupported
from harness.toolkit.padding_exemptions import PADDED, exemptions_of

Side = Literal["left", "right"]

#: Variants with a padded row, and the side where padding stands.
SIDES: Mapping[str, Side] = {"left-padded": "left", "right-padded": "right"}

#: The padded row of each of these batches as a batch of its own: some modeling code takes another
#: path there, as masks that Qwen3-Next left out for a single row.
ROWS: Mapping[str, str] = {"left-padded": "left-padded-row", "right-padded": "right-padded-row"}

#: Variants whose last row has less of a medium, by medium; padding stands at its end.
MEDIA: Mapping[str, str] = {medium: f"{medium}-padded" for medium in MASKED_MEDIA}

#: Names of the exemption of models in which something counts that a mask hides, by medium.
COUNTED: Mapping[str, str] = {medium: f"{medium}-hidden" for medium in MASKED_MEDIA}

#: How the names of the arguments begin that hold a medium.
HELD: Mapping[str, tuple[str, ...]] = {
    "sound": ("input_features", "input_values", "audio"),
    "image": ("pixel_values",),
    "condition": ("encoder_hidden_states",),
}

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


def last_row(arrays: Arrays, rows: int, more: Arrays | None = None, others: int = 0) -> Arrays:
    """The last row of a batch, as a batch of one.

    Args:
        arrays: inputs or outputs by name; the first axis of each holds whole rows, one or several
            of its elements a row, as patches of images do. What has another one stays as it is.
        rows: of the batch.
        more: the same with another number of rows, which shows another axis that holds them, as
            the last one of MiniCPM-V's images does.
        others: rows of those.
    """
    made = {}
    for name, array in arrays.items():
        axis = _axis_of_rows(array, rows, more.get(name) if more else None, others)
        made[name] = array
        if axis is not None:
            first = array.shape[axis] - array.shape[axis] // rows
            made[name] = np.ascontiguousarray(np.take(array, range(first, array.shape[axis]), axis))
    return made


def _axis_of_rows(array: Array, rows: int, more: Array | None, others: int) -> int | None:
    if holds_rows(array, rows):
        return 0
    if more is None or more.ndim != array.ndim:
        return None
    sizes = enumerate(zip(array.shape, more.shape, strict=True))
    return next((i for i, (n, m) in sizes if n != m and n * others == m * rows), None)


def holds_rows(array: Array, rows: int) -> bool:
    """Whether the first axis of an array holds whole rows of a batch."""
    return array.ndim > 0 and len(array) > 0 and len(array) % rows == 0


def masks_a_medium(inputs: Arrays) -> bool:
    """Whether there is a mask of something else than a text's tokens."""
    return bool(_masks_of_media(inputs))


def rows_of_medium(whole: Arrays, short: Arrays) -> int | None:
    """The rows of a batch, as the mask has them that differs between two inputs, if any does."""
    return next((len(whole[name]) for name in _other_masks(whole, short)), None)


def _other_masks(whole: Arrays, short: Arrays) -> list[str]:
    """The masks of media that differ between two inputs."""
    return [
        name
        for name in _masks_of_media(whole)
        if not np.array_equal(whole[name], short.get(name, whole[name]))
    ]


def _masks_of_media(inputs: Arrays) -> list[str]:
    texts = {MASK} if any(name in inputs for name in TEXT) else set()
    return [
        name
        for name, array in inputs.items()
        if "mask" in name and name not in texts and array.ndim >= 2 and array.dtype.kind in "biu"
    ]


def joined(whole: Arrays, short: Arrays, rows: int, token: int) -> Arrays:
    """The whole inputs with the last row of the shorter ones, filled up with zeros at its ends.

    Args:
        whole: (rows, ...) each, or several elements of the first axis for each row.
        short: the same with shorter axes.
        rows: of the batch.
        token: the id that fills up a text.

    Raises:
        Unsupported: an array holds no whole rows, or is longer in the shorter inputs.
    """
    made = dict(whole)
    for name, array in whole.items():
        last = short[name]
        if not (holds_rows(array, rows) and holds_rows(last, rows) and array.ndim == last.ndim):
            if array.shape == last.shape:
                continue
            raise Unsupported(f"{name} holds no rows that could be padded")
        value = made[name] = array.copy()
        target = value[-(len(value) // rows) :]
        row = last[-(len(last) // rows) :]
        if any(n > room for n, room in zip(row.shape, target.shape, strict=True)):
            raise Unsupported(f"{name} is no shorter with less of a medium")
        target[...] = token if name == "input_ids" else 0
        target[tuple(slice(0, n) for n in row.shape)] = row
    return made


def emptied(inputs: Arrays, whole: Arrays, rows: int, medium: str) -> Arrays:
    """Inputs with zeros for what a mask hides of a medium in the last row, from its middle on.

    What stands there may be anything. The half before it stays as it is: a convolution or a patch
    at the border reads some of it, where the mask counts what comes of both. Where several axes
    are as long as the mask, as those of 128 frames of 128 bands, what lies far along all of them is
    hidden whichever is meant.

    Args:
        inputs: the last row of which has something hidden.
        whole: the same with nothing hidden.
        rows: of the batch.
        medium: one of `harness.contract.MASKED_MEDIA`.
    """
    made = dict(inputs)
    holders = {n: a for n, a in inputs.items() if n.startswith(HELD[medium]) and len(a) == rows}
    for mask in _other_masks(whole, inputs):
        row = inputs[mask][-1]
        for axis, size in enumerate(row.shape if len(inputs[mask]) == rows else ()):
            shown = np.flatnonzero(np.moveaxis(row, axis, 0).reshape(size, -1).any(axis=1))
            border = int(shown[-1]) + 1 if len(shown) else 0
            far = slice((border + size + 1) // 2, None)
            for name, array in holders.items() if border < size else ():
                shape = array.shape[1:]
                if array.dtype.kind == "f" and size in shape:
                    made[name] = made[name].copy()
                    made[name][-1][tuple(far if n == size else slice(None) for n in shape)] = 0
    return made


def is_per_token(base: Arrays, name: str) -> bool:
    """Whether an input has a value for each token of the mask: (rows, length, ...)."""
    return name in PER_TOKEN and base[name].shape[:2] == base[MASK].shape
