"""Structured data (graphs, tables, trajectories, proteins): every input counts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import Probe, moves, swapped
from harness.contract import Arrays, is_floating


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Each floating input, the tokens and the edges, on their own change the outputs."""
    for name, value in base.items():
        counts = (is_floating(value) or name in ("input_ids", "edge_index")) and value.size > 1
        if counts and (value != other[name]).any():
            yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))
