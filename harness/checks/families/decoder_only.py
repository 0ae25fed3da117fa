"""Decoders: no token sees a later one."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, causal
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """A later token changes nothing before it."""
    yield from causal(base, other)
