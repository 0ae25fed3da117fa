"""Speech and sound: the whole recording counts, or the whole text to be spoken or played."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, media_end
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The end of the recording, or of the text where there is none, changes the outputs."""
    for name in ("input_values", "input_features", "input_ids"):
        if name in base:
            yield from media_end(base, other, name)
            return
