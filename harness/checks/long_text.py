"""Long texts: one that leaves every window which the model's config class declares.

The windows of a small model are a few tokens. Where the modeling code goes by another one, which it
finds in a class default, a text of a few tokens is the same to it as one without windows.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.checks import generation
from harness.contract import (
    Arrays,
    Case,
    Generated,
    Generation,
    GenerationRequest,
    LibraryFault,
    Unsupported,
)
from harness.toolkit import numerics

#: The name of the check in `harness/catalog/exemptions.toml`.
NAME = "long-text"

#: How many first tokens a decoder must give the same outputs with and without those after them.
FIRST = 16

#: How many tokens are generated after a long text.
TOKENS = 3

#: The largest error in float32, relative to the norm of an output.
TOLERANCE = 1e-3


@runtime_checkable
class LongTextCase(Protocol):
    """A case that has a long text, and runs it as users of the library do."""

    def long_text(self) -> tuple[Arrays, Arrays] | None:
        """Inputs of one row: a text of usual length, and a long one; None where it has none."""

    def preferred(self, inputs: Arrays) -> Arrays:
        """Outputs in float32 with the attention that the library prefers."""

    def with_damaged_cache(
        self, request: GenerationRequest, damage: str | None
    ) -> Generated | None:
        """Generation with a cache; `damage` None leaves it as it is."""


def check(case: Case, how: Generation | None, *, causal: bool) -> None:
    """Run the modeling code on a long text, and hold what it gives to what it gives otherwise.

    The first tokens of a decoder are held to themselves alone, and what a head generates after the
    text to one inference without a cache: T5Gemma 2 once kept 4,096 of its encoder's keys, whatever
    its config said. A model that does not take one row with a text of another length, as one with a
    sound for each token, is left alone.

    Args:
        case: whose modeling code is meant; a `LongTextCase`, or there is nothing to check.
        how: the case generates, if it does.
        causal: whether later tokens change no earlier output.

    Raises:
        LibraryFault: it does not run, or something else comes out.
    """
    if not isinstance(case, LongTextCase):
        return
    long = _long_text(case, how)
    if long is None:
        return
    length = max(int(array.shape[1]) for array in long.values() if array.ndim > 1)
    said = f"{NAME}: {length} tokens, which leave each window that the config class declares"
    try:
        text, made = long, None
        if how is not None:
            made = _generated(case, long, how)
            text = generation.extended(generation.prompt(long, how.argument), how, made.sequences)
        outputs = case.preferred(text)
    except Exception as error:
        raise LibraryFault(f"{said}: {type(error).__name__}: {error}", fault=NAME) from error
    if made is not None and made.logits is not None and how is not None:
        began = generation.prompt(long, how.argument)[how.argument].shape[1]
        logits = generation.logits_of(outputs)[:, -made.sequences.shape[1] :]
        want = {"logits": generation.steps_of(made.sequences, logits, began)}
        kept = f"the logits of {TOKENS} tokens after them as they are without a cache"
        _compare(f"{said}: expected {kept}", {"logits": made.logits}, want)
    if causal and not any(name.startswith("decoder_") for name in text):
        length = text["input_ids"].shape[1]
        first = case.preferred(_first(text, length))
        got = _first(outputs, length)
        alike = {n: a for n, a in first.items() if a.shape == got[n].shape}
        _compare(f"{said}: expected the first {FIRST} as they are alone", got, alike)


def _long_text(case: LongTextCase, how: Generation | None) -> Arrays | None:
    """The long text of a case, if it has one and a text of usual length runs."""
    try:
        texts = case.long_text()
        if texts is None:
            return None
        usual, long = texts
        if how is not None:
            _generated(case, usual, how)
        case.preferred(usual)
    except Exception:  # whatever the library says to a row or a length that it does not take
        return None
    return long


def _generated(case: LongTextCase, text: Arrays, how: Generation) -> Generated:
    request = GenerationRequest(generation.prompt(text, how.argument), TOKENS)
    made = case.with_damaged_cache(request, None)
    if made is None:
        raise Unsupported("no inference is given a cache")
    return made


def _compare(expected: str, got: Arrays, want: Arrays) -> None:
    found = numerics.difference({name: got[name] for name in want}, want)
    if found.faults or found.error > TOLERANCE:
        moved = "; ".join(found.faults) or f"{found.output} is off by {found.error:.2g}"
        raise LibraryFault(f"{expected}, found: {moved}", fault=NAME)


def _first(arrays: Arrays, length: int) -> Arrays:
    """Arrays up to the first tokens, where they have an axis of them."""
    return {
        name: array[:, :FIRST] if array.ndim > 1 and array.shape[1] == length else array
        for name, array in arrays.items()
    }
