"""Speech and sound: the whole recording counts, or the whole text to be spoken or played."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, every_end_counts
from harness.contract import Arrays

#: Arguments that hold a recording, or what stands for one; the first that a model has is probed.
RECORDINGS = (
    "input_values",
    "input_features",
    "audio_mel",
    "raw_audio",
    "latents",
    "audio_codes",
    "hidden_states",
    "input_ids",
)


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The end of the recording, or of the text where there is none, changes the outputs.

    So do its highest frequencies, and the last of the streams of a text that has several.
    """
    for name in RECORDINGS:
        if name in base:
            yield from every_end_counts(base, other, name)
            return
