"""Encoders: every token sees every other one."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Arrays
from harness.families.probe import Probe, bidirectional


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """A later token changes the first one's output."""
    yield from bidirectional(base, other)
