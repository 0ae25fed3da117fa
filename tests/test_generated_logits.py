"""Logits of each generated step are held against the reference's, beside the tokens."""

from __future__ import annotations

import numpy as np
import pytest
from function_backend import Runner
from language_backend import (
    LanguageBackend,
    Logits,
    forgetful,
    logits_after,
    of_another_row,
    shifted,
)

from harness.checks import generation
from harness.contract import Generated, GenerationRequest, Outcome, Stage


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


def test_right_logits_pass(run: Runner) -> None:
    result = run(LanguageBackend())
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    assert Stage.GENERATE in run.stages


@pytest.mark.parametrize("damage", [forgetful, shifted, of_another_row])
def test_right_tokens_with_the_logits_of_a_damaged_cache_fail(run: Runner, damage: Logits) -> None:
    result = run(LanguageBackend({"plain": damage}))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert result.reason.startswith("on input 'while generating': logits: relative error")


def test_a_backend_that_tells_no_logits_is_judged_by_its_tokens(run: Runner) -> None:
    assert run(LanguageBackend({"plain": forgetful}, tells=False)).outcome is Outcome.PASS


def test_logits_of_other_tokens_than_those_chosen_fail(run: Runner) -> None:
    class Late(LanguageBackend):
        def generated(self, request: GenerationRequest) -> Generated:
            made = super().generated(request)
            assert made.logits is not None
            return Generated(made.sequences, np.roll(made.logits, 1, axis=1))

    result = run(Late({"plain": logits_after}))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)


def test_the_logits_that_a_token_was_chosen_by_stand_at_the_place_before_it() -> None:
    sequences = np.arange(10).reshape(2, 5)
    given = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    assert (generation.steps_of(sequences, given, 3) == given[:, 2:4]).all()
