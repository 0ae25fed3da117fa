"""Retrieval: the question decides what is retrieved, and what was retrieved decides the answer."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Arrays
from harness.families.probe import Probe, moves, only_token, swapped

#: What stands for the retriever in the inputs of a generator.
RETRIEVED = ("context_input_ids", "doc_scores")


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The documents and their scores count; without them, one word of the question does."""
    retrieved = [name for name in RETRIEVED if name in base]
    for name in retrieved:
        yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))
    if not retrieved and "input_ids" in base and base["input_ids"].ndim == 2:
        inputs = only_token(base, other, "input_ids", 3)
        yield Probe("question-counts", inputs, moves("one token of the question"))
