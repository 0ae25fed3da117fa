"""Long texts: one that leaves every window of the model's class, and one that fills its places.

The windows of a small model are a few tokens. Where the modeling code goes by another one, which it
finds in a class default, a text of a few tokens is the same to it as one without windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
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
from harness.models.long_texts import LongText
from harness.toolkit import numerics

#: The name of the check in `harness/catalog/exemptions.toml`.
NAME = "long-text"

#: How many first tokens a decoder must give the same outputs with and without those after them.
FIRST = 16

#: How many tokens are generated after a long text: a table of places may have two rows more.
TOKENS = 5

#: The largest error in float32, relative to the norm of an output.
TOLERANCE = 1e-3


@runtime_checkable
class LongTextCase(Protocol):
    """A case that has long texts, and runs them as users of the library do."""

    def long_texts(self) -> Iterator[LongText]:
        """Those that its config gives a reason for."""

    def preferred(self, inputs: Arrays) -> Arrays:
        """Outputs in float32 with the attention that the library prefers."""

    def with_damaged_cache(
        self, request: GenerationRequest, damage: str | None
    ) -> Generated | None:
        """Generation with a cache; `damage` None leaves it as it is."""


class Moved(Exception):
    """Outputs that are not as they are otherwise."""


def check(case: Case, how: Generation | None, *, causal: bool) -> None:
    """Run the modeling code on long texts, and hold what it gives to what it gives otherwise.

    The first tokens of a decoder are held to themselves alone, and what a head generates after the
    text to one inference without a cache: T5Gemma 2 once kept 4,096 of its encoder's keys, whatever
    its config said, and Kosmos-2.5 did not extend its table of places for tokens after a cached
    text. A model that does not take one row with a text of another length, as one with a sound for
    each token, is left alone, and so is one that generates wrongly after a usual text.

    Args:
        case: whose modeling code is meant; a `LongTextCase`, or there is nothing to check.
        how: the case generates, if it does.
        causal: whether later tokens change no earlier output.

    Raises:
        LibraryFault: it does not run, or something else comes out.
    """
    if not isinstance(case, LongTextCase):
        return
    for text in _taken(case, generates=how is not None):
        _check(case, text, how, causal=causal)


def _check(case: LongTextCase, text: LongText, how: Generation | None, *, causal: bool) -> None:
    if how is not None and not _runs(partial(_check_generated, case, text, text.usual, how)):
        return
    given = text.inputs
    length = max(int(array.shape[1]) for array in given.values() if array.ndim > 1)
    if text.of_decoder and how is not None:
        length = given[how.argument].shape[1]
    said = f"{NAME}: {length} tokens, which {text.claim}"
    try:
        if how is None:
            outputs = case.preferred(given)
        else:
            given, outputs = _check_generated(case, text, given, how)
    except Moved as moved:
        raise LibraryFault(f"{said}: {moved}", fault=NAME) from moved
    except Exception as error:
        raise LibraryFault(f"{said}: {type(error).__name__}: {error}", fault=NAME) from error
    # Beyond its places a model may rotate by other frequencies, as Phi-3 does with LongRoPE.
    if (
        causal
        and not text.only_generated
        and not any(name.startswith("decoder_") for name in given)
    ):
        length = given["input_ids"].shape[1]
        first = case.preferred(_first(given, length))
        got = _first(outputs, length)
        alike = {n: a for n, a in first.items() if a.shape == got[n].shape}
        try:
            _compare(f"the first {FIRST} as they are alone", got, alike)
        except Moved as moved:
            raise LibraryFault(f"{said}: {moved}", fault=NAME) from moved


def _check_generated(
    case: LongTextCase, text: LongText, given: Arrays, how: Generation
) -> tuple[Arrays, Arrays]:
    """Generate after a text, and hold that against one inference without a cache.

    Returns:
        The inputs of that inference, and its outputs.

    Raises:
        Moved: other logits were generated.
        Unsupported: no inference is given a cache.
    """
    prompt = given if text.of_decoder else generation.prompt(given, how.argument)
    made = case.with_damaged_cache(GenerationRequest(prompt, TOKENS), None)
    if made is None:
        raise Unsupported("no inference is given a cache")
    whole = generation.extended(prompt, how, made.sequences)
    outputs = case.preferred(whole)
    if made.logits is not None:
        logits = generation.token_logits(outputs, made.sequences.shape[1])
        began = prompt[how.argument].shape[1]
        want = {"logits": generation.steps_of(made.sequences, logits, began)}
        kept = f"the logits of {TOKENS} tokens after them as they are without a cache"
        _compare(kept, {"logits": made.logits}, want)
    return whole, outputs


def _taken(case: LongTextCase, *, generates: bool) -> Iterator[LongText]:
    """The long texts that show something of a case, and whose control runs."""
    try:
        for text in case.long_texts():
            shows = generates or not text.only_generated
            if shows and _runs(partial(case.preferred, text.control)):
                yield text
    except Exception:  # whatever the maker of examples says to a length that the model lacks
        return


def _runs(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # whatever the library says to a row or a length that it does not take
        return False
    return True


def _compare(expected: str, got: Arrays, want: Arrays) -> None:
    found = numerics.difference({name: got[name] for name in want}, want)
    if found.faults or found.error > TOLERANCE:
        moved = "; ".join(found.faults) or f"{found.output} is off by {found.error:.2g}"
        raise Moved(f"expected {expected}, found: {moved}")


def _first(arrays: Arrays, length: int) -> Arrays:
    """Arrays up to the first tokens, where they have an axis of them."""
    return {
        name: array[:, :FIRST] if array.ndim > 1 and array.shape[1] == length else array
        for name, array in arrays.items()
    }
