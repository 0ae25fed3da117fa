"""Image-to-text: the decoder reads the image, and is causal itself."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families import encoder_decoder
from harness.checks.families.probe import Probe, each_modality
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Those of an encoder-decoder; else every modality counts."""
    if "decoder_input_ids" in base:
        yield from encoder_decoder.probes(base, other)
    else:
        yield from each_modality(base, other)
