"""Retrieval: the question decides what is retrieved, and what was retrieved decides the answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.checks.families.loop import Call, Loop
from harness.checks.families.probe import (
    MOVED,
    Probe,
    Property,
    movement,
    moves,
    only_token,
    swapped,
)
from harness.contract import Array, Arrays, is_floating

#: The retriever's documents and their scores, as the generator of RAG takes them as inputs.
RETRIEVED = ("context_input_ids", "doc_scores")
#: Output of a model with a retriever: the documents' vectors, (batch, documents, width).
FOUND = "retrieved_doc_embeds"

#: Documents that an encoder's index holds, beside those that are the questions themselves.
OTHERS = 4


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The documents and their scores count; without them, one word of the question does."""
    retrieved = [name for name in RETRIEVED if name in base]
    for name in retrieved:
        yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))
    if not retrieved and "input_ids" in base and base["input_ids"].ndim == 2:
        inputs = only_token(base, other, "input_ids", 3)
        yield Probe("question-counts", inputs, moves("one token of the question"))
        yield Probe("other-documents", swapped(base, other, {"input_ids"}), _finds_others())


def _finds_others() -> Property:
    """Where a model retrieves, another question finds other documents."""

    def violation(before: Arrays, after: Arrays) -> str | None:
        if FOUND not in before:
            return None
        if movement(before[FOUND], after[FOUND]) <= MOVED:
            return f"expected another question to find other documents than {FOUND} says"
        return None

    return violation


def loop(base: Arrays, other: Arrays, outputs: Arrays) -> Loop | None:
    """Retrieval with an encoder: every document in the index is found by its own text.

    The index is a matrix of the documents' vectors, as `faiss.IndexFlatIP` keeps it. None where
    the model makes no one vector of a text.
    """
    encoded = next(
        (n for n, a in outputs.items() if a.ndim == 2 and is_floating(a) and "pool" in n), None
    )
    if encoded is None or not base.keys() <= {"input_ids", "attention_mask", "token_type_ids"}:
        return None

    def run(call: Call, inputs: Arrays) -> Arrays:
        questions = unit(call(inputs)[encoded])
        rolled = [np.roll(other["input_ids"], step, axis=1) for step in range(OTHERS)]
        documents = [inputs, *({**base, "input_ids": ids} for ids in rolled)]
        index = np.concatenate([unit(call(document)[encoded]) for document in documents])
        scores = questions @ index.T
        nearest = scores.argmax(axis=1)
        # One row for each question: how far its own text is ahead of the best of the others.
        ahead = [np.delete(row, i).max() - row[i] for i, row in enumerate(scores)]
        return {"scores": scores, "nearest": nearest, "distance": np.array(ahead)}

    return Loop("retrieval", run, base, {"the question": swapped(base, other, {"input_ids"})})


def unit(vectors: Array) -> Array:
    """Vectors of length one, float64: their inner product is the cosine."""
    wide = vectors.astype(np.float64)
    made: Array = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return made
