"""Diffusion: the noisy sample, the time step and the condition each count."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Arrays
from harness.families.probe import Probe, moves, swapped


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Each input on its own changes the prediction."""
    for name in ("sample", "hidden_states", "timestep", "timesteps", "encoder_hidden_states"):
        if name in base:
            yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))
