"""Vision: the whole image counts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, media_end
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The right quarter of the image (or the last quarter of its patches) changes the outputs."""
    for name in ("pixel_values", "pixel_values_videos", "hidden_states"):
        if name in base:
            yield from media_end(base, other, name, -1 if base[name].ndim >= 4 else 0)
            return
