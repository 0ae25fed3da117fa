"""Multimodal: text, image and sound each count."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, each_modality
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Each modality on its own changes the outputs."""
    yield from each_modality(base, other)
