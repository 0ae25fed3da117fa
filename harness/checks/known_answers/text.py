"""Known answers of text: a masked word, the next word, and sentences by their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.checks.known_answers.answer import ROWS, KnownAnswer, like
from harness.checks.known_answers.rows import Row
from harness.contract import Array, Arrays

#: The fewest tokens of a text: words, with nothing around them.
FEWEST = 4


def masked_word(row: Row, base: Mapping[str, Array], tokenizer: Any) -> KnownAnswer | None:
    """The word at a mask, of a model with the head of fill-mask."""
    if not tokenizer.mask_token:
        return None
    text = row.text.format(mask=tokenizer.mask_token)
    inputs = _encoded(tokenizer, [text] * ROWS, base)
    if inputs is None:
        return None
    places = np.flatnonzero(inputs["input_ids"][0] == tokenizer.mask_token_id)
    if len(places) != 1:
        return None
    return _word(row, text, inputs, int(places[0]), tokenizer)


def next_word(row: Row, base: Mapping[str, Array], tokenizer: Any) -> KnownAnswer | None:
    """The word after a text, of a model with the head of text generation."""
    # Without a token of the end behind the text, which some tokenizers add.
    inputs = _encoded(tokenizer, [row.text] * ROWS, base)
    if inputs is None:
        return None
    ids = inputs["input_ids"][0]
    last = len(ids) - 1
    while last and int(ids[last]) in set(tokenizer.all_special_ids):
        last -= 1
    return _word(row, row.text, inputs, last, tokenizer)


def similarity(row: Row, base: Mapping[str, Array], tokenizer: Any) -> KnownAnswer | None:
    """Which of two sentences is nearer to a third, by the mean of a text's last hidden states."""
    inputs = _encoded(tokenizer, [row.text, row.nearer, row.farther], base)
    if inputs is None:
        return None
    mask = inputs.get("attention_mask")

    def answer(outputs: Mapping[str, Array]) -> tuple[str, bool]:
        states = np.asarray(outputs["last_hidden_state"], np.float64)
        weights = np.ones(states.shape[:2]) if mask is None else mask.astype(np.float64)
        means = (states * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        nearer, farther = float(means[0] @ means[1]), float(means[0] @ means[2])
        return f"cosines of {nearer:.3f} and {farther:.3f}", nearer > farther

    question = f"{row.text!r}, {row.nearer!r} and {row.farther!r}"
    return KnownAnswer(question, "the second nearer to the first than the third", inputs, answer)


def _word(row: Row, text: str, inputs: Arrays, place: int, tokenizer: Any) -> KnownAnswer:
    def answer(outputs: Mapping[str, Array]) -> tuple[str, bool]:
        scores = np.asarray(outputs["logits"][0, place], np.float64)
        words = [
            str(tokenizer.decode([int(token)])).strip().lower()
            for token in np.argsort(-scores)[: row.among]
        ]
        # The first part of a word, where the tokenizer divides it.
        right = any(_begins(word, row.expected) for word in words)
        return ", ".join(map(repr, words)), right

    expected = " or ".join(map(repr, row.expected))
    return KnownAnswer(f"{text!r}", f"{expected} among {row.among} words", inputs, answer)


def _begins(part: str, words: Sequence[str]) -> bool:
    """Whether a text is the beginning of a word, of two letters at least."""
    return len(part) > 1 and any(word.startswith(part) for word in words)


def _encoded(tokenizer: Any, texts: Sequence[str], base: Mapping[str, Array]) -> Arrays | None:
    """Texts as the arguments that a model is given elsewhere.

    None for a tokenizer that does not know their words, as one of proteins or without a vocabulary.
    """
    if "input_ids" not in base:
        return None
    rows = tokenizer(list(texts))["input_ids"]
    unknown = tokenizer.unk_token_id
    if any(len(ids) < FEWEST or unknown in ids for ids in rows):
        return None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return like(base, tokenizer(list(texts), return_tensors="np", padding=len(set(texts)) > 1))
