"""A `generate()` of a class's own, whose answer no single pass can be held to.

Such an answer is held to itself: with the cache and without it, and row by row as in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from harness.checks import cache_ways
from harness.contract import Array, Arrays, Case, LibraryFault, Unsupported
from harness.toolkit import numerics

#: The name of the check in `harness/catalog/exemptions.toml`.
NAME = "own-generate"

#: The largest error of a floating answer, relative to its norm.
TOLERANCE = 1e-3

#: Answers are compared in the second, where they differ in the first: tokens may be close.
DTYPES = ("float32", "float64")


@runtime_checkable
class OwnGenerationCase(Protocol):
    """A case that generates as a user of the library does."""

    def own_answer(
        self,
        inputs: Arrays,
        settings: Mapping[str, Any],
        *,
        dtype: str = "float32",
        seed: int = 0,
    ) -> Arrays | None:
        """Answer of `generate()`; None where there is none, or where each token is judged."""


def check(case: Case, inputs: Arrays) -> None:
    """Let a class generate with its own `generate()`, and hold the answer to others of the same.

    RAG's read settings that its config does not have, and raised. An answer that is drawn at random
    must come, and is held to nothing. What a `generate()` refuses in plain words is left out.

    Args:
        case: whose class is meant; an `OwnGenerationCase`, or there is nothing to check.
        inputs: the plain ones.

    Raises:
        LibraryFault: it raises, or the cache or the rest of the batch changes the answer.
    """
    if not isinstance(case, OwnGenerationCase):
        return
    whole = cache(lambda dtype: case.own_answer(inputs, {}, dtype=dtype))
    try:
        plain = whole(DTYPES[0])
    except Exception as error:
        if cache_ways.refusal(error):
            return
        said = f"{NAME}: generate(): expected an answer, found {type(error).__name__}: {error}"
        raise LibraryFault(said, fault=f"{NAME}: {type(error).__name__}") from error
    if plain is None:
        return
    again = case.own_answer(inputs, {}, seed=1)
    if again is None or _differ(plain, again):
        return  # it is drawn at random
    _hold(case, whole, inputs, {"use_cache": False}, "without the cache")
    alone = _rows(inputs)
    for row, given in enumerate(alone):
        _hold(case, whole, given, {}, f"of row {row} alone", row=row, rows=len(alone))


def _hold(
    case: OwnGenerationCase,
    whole: Callable[[str], Arrays | None],
    others: Arrays,
    settings: Mapping[str, Any],
    named: str,
    *,
    row: int | None = None,
    rows: int = 0,
) -> None:
    """Hold an answer to the plain one, in each dtype; one that does not come says nothing.

    Args:
        case: whose class answers.
        whole: the plain answer, by dtype.
        others: the inputs of the other answer.
        settings: of the other answer.
        named: which answer it is.
        row: that the other answer is of; None for all.
        rows: that the plain answer is of.
    """
    moved = ""
    for dtype in DTYPES:
        try:
            plain = whole(dtype)
            other = case.own_answer(others, settings, dtype=dtype)
        except Exception:  # a dtype, an argument, or a batch of one that it does not take
            break
        if plain is None or other is None:
            raise Unsupported("generate() answered before, and does no more")
        if row is not None:
            if any(len(array) != rows for array in plain.values() if array.ndim):
                return  # no answer for each row
            plain = {name: array[row : row + 1] for name, array in plain.items() if array.ndim}
            other = {name: other[name] for name in plain if name in other}
        moved = _differ(plain, other)
        if not moved:
            return
    if moved:
        raise LibraryFault(
            f"{NAME}: generate(): expected the answer {named} as it is, found: {moved}",
            fault=f"{NAME}: the answer {named.split(' of ')[0]} is another",
        )


def _rows(inputs: Arrays) -> list[Arrays]:
    """Each row of the inputs as a batch of one; none where an input is not one for each row."""
    count = len(next(iter(inputs.values()))) if inputs else 0
    if any(array.ndim == 0 or len(array) != count for array in inputs.values()):
        return []
    return [{n: array[row : row + 1] for n, array in inputs.items()} for row in range(count)]


def _differ(plain: Arrays, other: Arrays) -> str:
    """How an answer differs from the plain one, up to the end of the shorter; empty: it does not.

    Rows of a batch end together: the shorter ones of them are padded.
    """
    for name, array in plain.items():
        if name not in other:
            return f"no {name}"
        one, two = _common(array, other[name])
        if one.dtype.kind in "iub":
            if not np.array_equal(one, two):
                place = (
                    tuple(map(int, np.argwhere(one != two)[0])) if one.shape == two.shape else ()
                )
                return f"{name} differs, at {place}"
            continue
        found = numerics.difference({name: two}, {name: one})
        if found.faults or found.error > TOLERANCE:
            return "; ".join(found.faults) or f"{name} is off by {found.error:.2g}"
    return ""


def _common(one: Array, two: Array) -> tuple[Array, Array]:
    """The parts of two arrays that have one shape, where only their last axes differ in length."""
    if one.ndim != two.ndim or one.ndim == 0 or one.shape[:-1] != two.shape[:-1]:
        return one, two
    least = min(one.shape[-1], two.shape[-1])
    return one[..., :least], two[..., :least]
