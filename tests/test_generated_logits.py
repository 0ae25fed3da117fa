"""Logits of each generated step are held against the reference's, beside the tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from function_backend import WIDTH, FunctionBackend, FunctionCase, Runner

from harness.checks import generation
from harness.contract import Array, Arrays, Generated, Generation, Outcome, Precision, Stage

LENGTH = 6

#: From the text so far, (batch, length), to the logits of the next token, (batch, vocabulary).
Change = Callable[[Array], Array]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


def language(x: Arrays, w: Arrays) -> Arrays:
    """A running mean of the tokens' rows, so that the past counts at each step."""
    held = w["inner"][x["input_ids"].astype(np.int64)].cumsum(axis=1)
    held /= np.arange(1, held.shape[1] + 1, dtype=held.dtype)[:, None]
    return {"logits": np.tanh(4 * held) @ w["outer"]}


class LanguageCase(FunctionCase):
    """A decoder in numpy."""

    generation: Any = Generation("input_ids")

    def __init__(self) -> None:
        super().__init__(language)

    def inputs(self, variant: str = "base") -> Arrays:
        rows = 3 if variant == "reshaped" else 2
        random = np.random.default_rng(list(variant.encode()))
        return {"input_ids": random.integers(0, WIDTH, (rows, LENGTH))}

    def weights(self) -> list[str]:
        return ["inner", "outer"]


def logits_after(context: Array) -> Array:
    """The right logits of the token after a text, (batch, vocabulary)."""
    return language({"input_ids": context}, LanguageCase().module())["logits"][:, -1]


class LanguageBackend(FunctionBackend):
    """Generates the right tokens, with other logits than they come from."""

    def __init__(self, change: Change, *, tells: bool = True) -> None:
        super().__init__(LanguageCase())
        self.change, self.tells = change, tells

    def generate(
        self, case: FunctionCase, precision: Precision, inputs: Arrays, tokens: int
    ) -> Generated:
        ids, steps = inputs["input_ids"], []
        for _ in range(tokens):
            steps.append(self.change(ids))
            ids = np.concatenate([ids, logits_after(ids).argmax(axis=-1)[:, None]], axis=1)
        return Generated(ids, np.stack(steps, axis=1) if self.tells else None)


def forgetful(context: Array) -> Array:
    """As if the cache held nothing, beside the last token."""
    return logits_after(context[:, -1:])


def shifted(context: Array) -> Array:
    """As if each key and value of the past stood one place later, and the last one were lost."""
    return logits_after(np.delete(context, -2, axis=1))


def of_another_row(context: Array) -> Array:
    """As if each row remembered another one's text."""
    return logits_after(np.concatenate([context[::-1, :-1], context[:, -1:]], axis=1))


def test_right_logits_pass(run: Runner) -> None:
    result = run(LanguageBackend(logits_after))
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    assert Stage.GENERATE in run.stages


@pytest.mark.parametrize("damage", [forgetful, shifted, of_another_row])
def test_right_tokens_with_the_logits_of_a_damaged_cache_fail(run: Runner, damage: Change) -> None:
    result = run(LanguageBackend(damage))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert result.reason.startswith("on input 'while generating': logits: relative error")


def test_a_backend_that_tells_no_logits_is_judged_by_its_tokens(run: Runner) -> None:
    assert run(LanguageBackend(forgetful, tells=False)).outcome is Outcome.PASS


def test_logits_of_other_tokens_than_those_chosen_fail(run: Runner) -> None:
    class Late(LanguageBackend):
        def generate(self, *given: Any) -> Generated:
            made = super().generate(*given)
            assert made.logits is not None
            return Generated(made.sequences, np.roll(made.logits, 1, axis=1))

    result = run(Late(logits_after))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)


def test_the_logits_that_a_token_was_chosen_by_stand_at_the_place_before_it() -> None:
    sequences = np.arange(10).reshape(2, 5)
    given = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    assert (generation.steps_of(sequences, given, 3) == given[:, 2:4]).all()
