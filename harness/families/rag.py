"""Retrieval: the question decides what is retrieved."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Arrays
from harness.families.probe import Probe, moves, only_token


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """One word of the question changes its embedding."""
    if "input_ids" in base and base["input_ids"].ndim == 2:
        inputs = only_token(base, other, "input_ids", 3)
        yield Probe("question-counts", inputs, moves("one token of the question"))
