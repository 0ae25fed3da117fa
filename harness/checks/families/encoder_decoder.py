"""Encoder-decoders: the decoder reads the encoder, and is causal itself."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import MEDIA, Probe, causal, moves, swapped
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The source changes the target's outputs; a later target token changes nothing before it."""
    source = [name for name in ("input_ids", *MEDIA) if name in base]
    if "decoder_input_ids" in base and source:
        inputs = swapped(base, other, {source[0]})
        yield Probe("cross-attention", inputs, moves(f"{source[0]} alone"))
        yield from causal(base, other, "decoder_input_ids")
