"""Vision: the whole image counts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, end_counts
from harness.contract import Arrays

#: Colours of a picture; a last axis that is no longer holds them.
CHANNELS = 3


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The right quarter of the image (or the last quarter of its patches) changes the outputs.

    Pixels are (batch, channels, height, width), with frames before the channels in a video, or
    have their channels last; patches are (patches, pixels), or (batch, patches, pixels).
    """
    for name in ("pixel_values", "pixel_values_videos", "hidden_states"):
        if name in base:
            shape = base[name].shape
            width = -1 if len(shape) >= 4 and shape[-1] > CHANNELS else -2
            yield from end_counts(base, other, name, width)
            return
