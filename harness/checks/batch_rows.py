"""Batch invariance: a row gives the same in another place of the batch, beside other rows."""

from __future__ import annotations

from harness.contract import Arrays


def moved_row(base: Arrays, other: Arrays) -> Arrays | None:
    """Inputs whose last row is the first one of `base`, between rows of `other`.

    None where an input has no row for each element of a batch of two or more, as packed patches of
    images have none.

    Args:
        base: the plain inputs.
        other: other values of the same shapes.
    """
    sizes = {array.shape[:1] for array in base.values()}
    if len(sizes) != 1 or sizes in ({()}, {(0,)}, {(1,)}):
        return None
    moved = {name: other[name].copy() for name in base}
    for name, array in base.items():
        moved[name][-1] = array[0]
    return moved


def pair(moved: Arrays, base: Arrays) -> tuple[Arrays, Arrays] | None:
    """The outputs of that row among its new neighbours, and those of it in the plain batch.

    None where an output has not as many rows as in the plain batch, or has none.
    """
    alike = moved.keys() == base.keys() and all(
        array.ndim and array.shape == moved[name].shape for name, array in base.items()
    )
    if not alike or len({len(array) for array in base.values()}) != 1:
        return None
    last = {name: array[-1:] for name, array in moved.items()}
    return last, {name: array[:1] for name, array in base.items()}
