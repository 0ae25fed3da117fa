"""Time series: the distant past counts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, changed_from, moves
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """The first half of the past changes the outputs."""
    past = base.get("past_values")
    if past is not None and past.ndim >= 2:
        late = changed_from(base, base, "past_values", 1, 0)
        early = other["past_values"].copy()
        half = past.shape[1] // 2
        early[:, half:] = late["past_values"][:, half:]
        yield Probe(
            "past-counts", {**base, "past_values": early}, moves("the first half of the past")
        )
