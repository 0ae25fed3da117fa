"""Mixtures of experts: decoders whose tokens choose their own weights, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.checks.families import encoder_decoder
from harness.checks.families.probe import STILL, Probe, Property, causal, movement, sequence_output
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Causal; and a row's experts don't depend on the other rows of the batch."""
    if "decoder_input_ids" in base:
        yield from encoder_decoder.probes(base, other)
        return
    yield from causal(base, other)
    ids = base.get("input_ids")
    if ids is not None and ids.ndim == 2 and len(ids) >= 2:
        mixed = {**base, "input_ids": np.concatenate([ids[:1], other["input_ids"][1:]])}
        yield Probe("routing-per-row", mixed, _first_row_still(ids.shape[1]), True)


def _first_row_still(length: int) -> Property:
    def violation(before: Arrays, after: Arrays) -> str | None:
        name = sequence_output(before, length)
        if name is None:
            return None
        moved = movement(before[name][:1], after[name][:1])
        if moved > STILL * 1e3:
            return f"expected row 1 not to change {name} of row 0; it moved by {moved:.2g}"
        return None

    return violation
