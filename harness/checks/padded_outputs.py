"""Comparison of padded rows: which elements of the outputs are real, and their right values.

The last row of the batch loses some of its tokens and is filled up again, on the left or on the
right, with the mask saying so. What a model gives on the tokens that are left must be what it gives
for that row without any padding, and for the other rows what it gave before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from harness.contract import Array, Arrays, is_floating
from harness.toolkit import numerics
from harness.toolkit.padded_inputs import Side

#: Relative error between a row with padding and without: the rounding of float32, which some models
#: compute a softmax in, whatever their own dtype is. What padding does move, it moves by 1e-2.
SAME = 1e-4


def real(
    outputs: Arrays,
    base: Arrays,
    short: Arrays,
    rows: int,
    side: Side,
    lengths: tuple[int, int] | None,
) -> Arrays:
    """Boolean masks of the elements of padded outputs that do not stand on padding.

    An axis of the outputs on the plain inputs that is shorter on the shortened ones, in proportion
    to the text, follows the tokens, one by one or pooled: what is real along it lies at the end
    where the tokens are. Where a text's features stand in one axis with others, or an output's
    shape follows from its values, nothing is known of the padded row.

    Args:
        outputs: on padded inputs.
        base: outputs on the plain inputs.
        short: outputs on the shortened ones.
        rows: of the batch.
        side: where padding stands.
        lengths: of the plain text and of the shortened one, where an axis of another proportion
            holds something else beside it; None for a sound or an image, whose features are fewer
            than in proportion.

    Returns:
        Booleans of the shape of each output.
    """
    found: Arrays = {}
    for name, array in outputs.items():
        known = found[name] = np.ones(array.shape, dtype=np.bool_)
        if not _alike(array, base.get(name), short.get(name), rows):
            known[...] = False
            continue
        if base[name].shape == short[name].shape:
            continue
        view = _by_row(known, rows)
        sizes = _by_row(short[name], rows).shape
        for axis, (full, kept) in enumerate(zip(view.shape, sizes, strict=True)):
            if lengths and full * lengths[1] != kept * lengths[0] and full != kept:
                view[-1] = False
            elif kept < full:
                padding = slice(0, full - kept) if side == "left" else slice(kept, full)
                np.moveaxis(view[-1], axis - 1, 0)[padding] = False
    return found


def violation(
    outputs: Arrays,
    base: Arrays,
    short: Arrays,
    mask: Arrays,
    rows: int,
    pairs: Collection[str] = (),
) -> str | None:
    """The violation in outputs on padded inputs, or None where padding changes no real token.

    Args:
        outputs: of the reference on padded inputs.
        base: of the reference on the plain inputs: what all rows but the last must give.
        short: of the reference on the shortened inputs: what the last row must give.
        mask: what `real` says of the outputs.
        rows: of the batch.
        pairs: the outputs with a score of each row with each other one, as CLIP's logits: (rows,
            rows, ...). The two labels of a classifier make the same shape of two rows.
    """
    got: Arrays = {}
    want: Arrays = {}
    for name, array in outputs.items():
        if not mask[name].any() or array.ndim == 0 or array.shape[0] % rows:
            continue
        found, real_ = _by_row(array, rows), _by_row(mask[name], rows)
        whole, brief = _by_row(base[name], rows), _by_row(short[name], rows)
        if name in pairs:
            # Only the scores of a row with itself are its own.
            own = np.eye(rows, dtype=np.bool_)[(..., *[None] * (array.ndim - 2))]
            real_ = real_ & _by_row(np.broadcast_to(own, array.shape), rows)
            expected_last = brief[-1][_by_row(np.broadcast_to(own, short[name].shape), rows)[-1]]
        elif real_[-1].any():
            expected_last = brief[-1].ravel()
        else:
            expected_last = brief[-1][:0].ravel()
        want[name] = np.concatenate([whole[:-1][real_[:-1]], expected_last])
        got[name] = np.concatenate([found[:-1][real_[:-1]], found[-1][real_[-1]]])
    difference = numerics.difference(got, want)
    if difference.faults:
        return "; ".join(difference.faults)
    if difference.error > SAME:
        return (
            f"expected padding to change no real token; {difference.output} moved by "
            f"{difference.error:.2g}"
        )
    if difference.mismatched > numerics.MISMATCHED:
        return f"expected padding to change no integer; {difference.mismatched:.1%} changed"
    return None


def pairs_of_rows(outputs: Arrays, reshaped: Arrays | None, rows: int, others: int) -> list[str]:
    """The outputs whose second axis is the batch as well, as in CLIP's logits of text and image.

    Args:
        outputs: on the plain inputs.
        reshaped: on a batch of another size; None where the model takes no other, and whatever
            looks like pairs counts as such.
        rows: of the plain batch.
        others: of the other batch.
    """
    alike = [name for name, array in outputs.items() if array.shape[:2] == (rows, rows)]
    if reshaped is None:
        return alike
    return [n for n in alike if n not in reshaped or reshaped[n].shape[1:2] == (others,)]


def finite(outputs: Arrays, mask: Mapping[str, Array]) -> bool:
    """Whether every value that a mask says to compare is finite."""
    return all(np.isfinite(a[mask[n]]).all() for n, a in outputs.items() if is_floating(a))


def selected(outputs: Arrays, mask: Mapping[str, Array]) -> Arrays:
    """The elements that a mask says to compare, of the outputs that it speaks of.

    An output of another shape than its mask is left as it is: a comparison then says so.
    """
    return {
        name: array[mask[name]] if name in mask and mask[name].shape == array.shape else array
        for name, array in outputs.items()
    }


def _alike(array: Array, base: Array | None, short: Array | None, rows: int) -> bool:
    """Whether an output has the plain one's shape, and the shorter one follows from it."""
    if base is None or short is None or array.shape != base.shape or base.ndim != short.ndim:
        return False
    if base.shape == short.shape:
        return True
    if base.shape[0] % rows or short.shape[0] % rows:
        return False
    return all(kept <= full for full, kept in zip(base.shape, short.shape, strict=True))


def _by_row(array: Array, rows: int) -> Array:
    """A view of an output, (rows, what belongs to each of them, further axes)."""
    return array.reshape(rows, array.shape[0] // rows, *array.shape[1:])
