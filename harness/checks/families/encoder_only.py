"""Encoders: every token sees every other one."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, bidirectional
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """A later token changes the first one's output."""
    yield from bidirectional(base, other)
