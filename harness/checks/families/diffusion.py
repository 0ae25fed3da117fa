"""Diffusion: each condition counts, and the predictions lead from noise to somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from harness.checks.families.loop import Call, Loop
from harness.checks.families.probe import Probe, moves, swapped
from harness.contract import Array, Arrays

NOISE = ("sample", "hidden_states")
TIME = "timestep"

#: Of DDIM: steps of the training's schedule, from nearly pure noise on.
STEPS = (666, 333, 0)

#: Of flow matching: the share of noise, at each step and at the end.
SHARES = (1.0, 0.5, 0.25, 0.0)


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Each input on its own changes the prediction."""
    for name, value in base.items():
        if (value != other[name]).any():
            yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))


def loop(base: Arrays, other: Arrays, outputs: Arrays) -> Loop | None:
    """Denoising in a few steps; None where the model predicts nothing of the noise's shape.

    Whole time steps are those of DDIM, fractions of them the time of a flow.
    """
    noise = next((name for name in NOISE if name in base), None)
    if noise is None or TIME not in base:
        return None
    predicted = next((n for n, a in outputs.items() if _overlap(a, base[noise])), None)
    if predicted is None:
        return None
    step = ddim if np.issubdtype(base[TIME].dtype, np.integer) else flow

    def run(call: Call, inputs: Arrays) -> Arrays:
        x, time = inputs[noise].astype(np.float64), inputs[TIME]
        part = _overlap(outputs[predicted], x)
        # Time goes from 0 to 1, or from 0 to 1000.
        scale = 1.0 if step is ddim or float(base[TIME].max()) <= 1 else 1000.0
        stops = (*STEPS, -1) if step is ddim else SHARES
        for now, after in pairwise(stops):
            times = np.full(time.shape, now * scale).astype(time.dtype)
            given = {**inputs, noise: x.astype(inputs[noise].dtype), TIME: times}
            x[part] = step(x[part], call(given)[predicted][part].astype(np.float64), now, after)
        return {"denoised": x[part]}

    conditions = base.keys() - {noise, TIME}
    starts = {"the noise": swapped(base, other, {noise})}
    if any((base[name] != other[name]).any() for name in conditions):
        starts["the condition"] = swapped(base, other, conditions)
    return Loop("denoising", run, base, starts)


def ddim(x: Array, noise: Array, now: float, after: float) -> Array:
    """One step of DDIM (arXiv:2010.02502, equation 12 with no noise added).

    Args:
        x: the sample at `now`.
        noise: in it, as the model predicts.
        now: a step of the training's schedule.
        after: the next one, or -1 for the end, where no noise is left.
    """
    signal = (x - np.sqrt(1 - _kept(now)) * noise) / np.sqrt(_kept(now))
    found: Array = np.sqrt(_kept(after)) * signal + np.sqrt(1 - _kept(after)) * noise
    return found


def flow(x: Array, velocity: Array, now: float, after: float) -> Array:
    """One Euler step along a flow, from one share of noise to another."""
    found: Array = x + (after - now) * velocity
    return found


def _kept(step: float) -> float:
    """The cumulative alpha: the signal's share of the variance, in Stable Diffusion's schedule."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return float(np.prod(1 - betas[: int(step) + 1]))


def _overlap(prediction: Array, noise: Array) -> tuple[slice, ...] | None:
    """The part of the noise that a model's output predicts; None where it predicts none.

    The noise may have more channels than the prediction, or half as many: a condition stands
    beside the one, a variance beside the other.
    """
    sizes = list(zip(prediction.shape, noise.shape, strict=False))
    differing = [(a, b) for a, b in sizes if a != b]
    if prediction.ndim != noise.ndim or len(differing) > 1:
        return None
    if any(a > b and a != 2 * b for a, b in differing):
        return None
    return tuple(slice(min(a, b)) for a, b in sizes)
