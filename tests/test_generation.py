"""Generated tokens are held against the reference's logits on the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks import generation
from harness.contract import GENERATED_TOKENS, Array, Arrays, CheckFailed, Generation, Inconclusive

BATCH, GIVEN, VOCABULARY = 2, 4, 12
FLOOR = 1e-6
HOW = Generation("input_ids")


def logits_for(sequences: Array) -> Array:
    """A language: the next token is the sum of all so far, modulo the vocabulary."""
    wanted = sequences.cumsum(axis=1) % VOCABULARY
    logits: Array = -np.abs(np.arange(VOCABULARY) - wanted[..., None]).astype(np.float64)
    return logits


def greedy(
    given: Array, steps: int, *, forgets: int = 0, suppressed: tuple[int, ...] = ()
) -> Array:
    """Greedy generation whose cache holds everything but the first `forgets` tokens."""
    sequences = given
    for _ in range(steps):
        logits = logits_for(sequences[:, forgets:])[:, -1].copy()
        logits[:, list(suppressed)] = -np.inf
        sequences = np.concatenate([sequences, logits.argmax(axis=-1)[:, None]], axis=1)
    return sequences


def judged(
    fed: Arrays,
    sequences: Array,
    logits: Array | None = None,
    how: Generation = HOW,
    floor: float = FLOOR,
) -> generation.Judged:
    logits = logits_for(sequences) if logits is None else logits
    ids = fed["input_ids"]
    steps = generation.steps_of(sequences, logits, ids.shape[1])
    return generation.judge(ids, how, sequences, steps, floor)


@pytest.fixture
def fed() -> Arrays:
    ids = np.array([[3, 1, 4, 1], [2, 7, 1, 8]])
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_the_likeliest_tokens_pass(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 5)
    found = judged(fed, sequences)
    assert (found.tokens, found.score) == (5, 0.0)


def test_a_cache_that_forgets_is_found(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 5, forgets=1)
    with pytest.raises(CheckFailed, match=r"token \d of row \d: expected \d+, whose logit is"):
        judged(fed, sequences)


def test_one_wrong_token_is_found_and_named(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 5)
    sequences[1, GIVEN + 2] = (sequences[1, GIVEN + 2] + 5) % VOCABULARY
    with pytest.raises(CheckFailed, match="token 3 of row 1"):
        judged(fed, sequences[:, : GIVEN + 3])


def test_two_tokens_that_rounding_can_swap_both_pass(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 1)
    logits = logits_for(sequences)
    best = int(sequences[0, -1])
    second = (best + 1) % VOCABULARY
    logits[0, -2, second] = logits[0, -2, best] - FLOOR
    sequences[0, -1] = second
    assert 0 < judged(fed, sequences, logits).score < 1


def test_a_floor_that_lets_anything_pass_is_no_pass(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 3)
    with pytest.raises(Inconclusive, match="all tokens would pass for the likeliest"):
        judged(fed, sequences, floor=0.1)


@pytest.mark.parametrize("wrong", ["nothing new", "less than was given", "another prompt"])
def test_what_was_given_must_come_back_and_go_on(fed: Arrays, wrong: str) -> None:
    given = fed["input_ids"]
    sequences = greedy(given, 2)
    generation.check_sequences(sequences, given, VOCABULARY)
    if wrong == "another prompt":
        sequences[0, 0] += 1
    else:
        sequences = given if wrong == "nothing new" else given[:, :1]
    with pytest.raises(CheckFailed, match="expected 4 given tokens and more after them"):
        generation.check_sequences(sequences, given, VOCABULARY)


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_that_there_is_not(fed: Arrays, token: int) -> None:
    given = fed["input_ids"]
    sequences = greedy(given, 2)
    sequences[0, -1] = token
    with pytest.raises(CheckFailed, match=f"from 0 to {VOCABULARY - 1}, found {token}"):
        generation.check_sequences(sequences, given, VOCABULARY)


def test_suppressed_tokens_are_nobodys_choice(fed: Arrays) -> None:
    first = int(greedy(fed["input_ids"], 1)[0, -1])
    how = Generation("input_ids", (first,))
    sequences = greedy(fed["input_ids"], 3, suppressed=how.suppressed)
    assert (sequences[:, GIVEN:] != first).all()
    judged(fed, sequences, how=how)
    with pytest.raises(CheckFailed):
        judged(fed, sequences)


def test_values_that_mask_a_token_are_no_logits(fed: Arrays) -> None:
    sequences = greedy(fed["input_ids"], 3)
    logits = logits_for(sequences)
    unused = next(i for i in range(VOCABULARY) if i not in sequences[:, GIVEN:])
    logits[..., unused] = np.finfo(np.float64).min
    assert judged(fed, sequences, logits).score == 0


def test_what_goes_with_a_token_grows_with_the_sequence(fed: Arrays) -> None:
    image_mask = np.array([[[0, 1]] * GIVEN] * BATCH)
    given = {
        **fed,
        "mm_token_type_ids": np.ones_like(fed["input_ids"]),
        "image_attention_mask": image_mask,
        "pixel_values": np.zeros((BATCH, GIVEN, 3), dtype=np.float32),
    }
    sequences = greedy(fed["input_ids"], 2)
    made = generation.extended(given, HOW, sequences)
    assert (made["input_ids"] == sequences).all()
    assert made["attention_mask"].tolist() == [[1] * 6] * BATCH
    assert made["mm_token_type_ids"].tolist() == [[1] * 4 + [0] * 2] * BATCH
    assert made["image_attention_mask"].shape == (BATCH, 6, 2)
    assert (made["image_attention_mask"] == [0, 1]).all()
    assert made["pixel_values"] is given["pixel_values"]


def test_token_types_go_on_as_the_last_one_where_the_model_says_nothing(fed: Arrays) -> None:
    types = np.tile([0, 0, 0, 1], (BATCH, 1))
    made = generation.extended({**fed, "token_type_ids": types}, HOW, greedy(fed["input_ids"], 2))
    assert made["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]] * BATCH


def test_generated_tokens_are_of_the_kind_that_the_model_gives_them(fed: Arrays) -> None:
    given = {**fed, "token_type_ids": np.zeros_like(fed["input_ids"])}
    how = Generation("input_ids", types={"token_type_ids": 1})
    made = generation.extended(given, how, greedy(fed["input_ids"], 2))
    assert made["token_type_ids"].tolist() == [[0] * GIVEN + [1] * 2] * BATCH


def test_only_the_decoders_own_arguments_grow_with_its_tokens(fed: Arrays) -> None:
    target = fed["input_ids"]
    given = {**fed, "decoder_input_ids": target, "decoder_attention_mask": np.ones_like(target)}
    made = generation.extended(given, Generation("decoder_input_ids"), greedy(target, 3))
    assert made["decoder_attention_mask"].shape == (BATCH, GIVEN + 3)
    assert made["attention_mask"].shape == made["input_ids"].shape == (BATCH, GIVEN)


def test_the_logits_among_other_outputs() -> None:
    logits = np.zeros((1, 2, 3))
    assert generation.logits_of({"loss": np.zeros(1), "lm_logits": logits}) is logits
    with pytest.raises(CheckFailed, match=r"expected an output called logits, found \['hidden'\]"):
        generation.logits_of({"hidden": logits})


def test_logits_before_those_of_the_tokens_are_left_out() -> None:
    logits = np.arange(24.0).reshape(1, 6, 4)
    assert (generation.token_logits({"logits": logits}, 4) == logits[:, 2:]).all()
    assert (generation.token_logits({"logits": logits}, 6) == logits).all()


def test_a_pipeline_makes_as_many_tokens_as_its_model_says(fed: Arrays) -> None:
    ids = fed["input_ids"]
    generation.check_count(greedy(ids, GENERATED_TOKENS), ids)
    with pytest.raises(CheckFailed, match=r"max_new_tokens = 8, .* says, found 9 new tokens"):
        generation.check_count(greedy(ids, GENERATED_TOKENS + 1), ids)
