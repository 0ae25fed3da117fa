"""Time series: the distant past counts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, moves
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The first half of the past changes the outputs."""
    past = base.get("past_values")
    if past is not None and past.ndim >= 2:
        changed = past.copy()
        half = past.shape[1] // 2
        changed[:, :half] = other["past_values"][:, :half]
        inputs = {**base, "past_values": changed}
        yield Probe("past-counts", inputs, moves("the first half of the past"))
