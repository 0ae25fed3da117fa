"""Sinusoids of a denoiser's timesteps (time embeddings), computed beside the model.

A denoiser of diffusers (`stable_diffusion_3`, say) is told how noisy its image is by a timestep up
to 1000, and takes sines of it. In float16 such an angle is off by up to half a radian: a device
that computes in 16 bits throughout must be given the sines. Pipelines can give the sines, since
they know the timesteps before they begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from backends._shared.completed_inputs import Complete, CompletedCase
from harness.contract import Array, Arrays, Case

#: The class name of diffusers' module, without parameters, that computes sinusoids.
MODULE = "Timesteps"
#: How the names of the inputs begin that stand for computed sinusoids; a number follows.
ARGUMENT = "time_sinusoids_"


class _SinusoidsKnown(Exception):
    """Ends an inference of the model once every sinusoid is known."""


class _SinusoidInput(nn.Module):
    """A stand-in for one `Timesteps` module: returns the next sinusoid that it was given."""

    def __init__(self, sinusoids: list[torch.Tensor]) -> None:
        super().__init__()
        self.sinusoids = sinusoids  # shared by all stand-ins, in the order of their calls

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """The next sinusoid, float32 of shape (batch, channels)."""
        return self.sinusoids.pop(0)


class _ModelWithSinusoids(nn.Module):
    """A denoiser whose forward takes its sinusoids as further arguments."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.sinusoids: list[torch.Tensor] = []
        for name in _timestep_modules(module):
            module.set_submodule(name, _SinusoidInput(self.sinusoids))

    def forward(self, **inputs: Any) -> Any:
        """The denoiser's outputs for inputs that hold its sinusoids."""
        self.sinusoids[:] = [
            inputs.pop(name) for name in sorted(inputs) if name.startswith(ARGUMENT)
        ]
        return self.module(**inputs)


class _CaseWithSinusoids(CompletedCase):
    """A case whose model takes sinusoids, and whose reference computes them itself."""

    def module(self) -> Any:
        """A fresh model that takes sinusoids."""
        return _ModelWithSinusoids(self._case.module()).eval()

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """The case's reference, without the sinusoids: its model computes them."""
        return self._case.reference(_without_sinusoids(inputs), dtype, seed=seed)

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The case's jittered outputs, without the sinusoids among the inputs."""
        return self._case.jittered(_without_sinusoids(inputs), dtype)


def completed_case(case: Case) -> tuple[Case, Complete]:
    """The case with sinusoids among its inputs, and the function that adds them to other inputs.

    Sinusoids are float32, of shape (batch, channels), under names that begin with `ARGUMENT`.
    """
    module = case.module()
    if not _timestep_modules(module):
        return case, dict
    found: list[torch.Tensor] = []
    asked = 0  # sinusoids of one inference; not known before the first one

    def keep(_module: Any, _given: Any, sinusoid: torch.Tensor) -> None:
        found.append(sinusoid)
        if len(found) == asked:
            raise _SinusoidsKnown

    for name in _timestep_modules(module):
        module.get_submodule(name).register_forward_hook(keep)

    def complete(inputs: Mapping[str, Array]) -> Arrays:
        nonlocal asked
        found.clear()
        with torch.no_grad():
            try:
                given = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
                module(**given, **case.options())
            except _SinusoidsKnown:
                pass
        asked = len(found)
        added = {f"{ARGUMENT}{i}": sinusoid.numpy() for i, sinusoid in enumerate(found)}
        return {**inputs, **added}

    return cast(Case, _CaseWithSinusoids(case, complete)), complete


def _timestep_modules(module: Any) -> list[str]:
    return [name for name, part in module.named_modules() if type(part).__name__ == MODULE]


def _without_sinusoids(inputs: Mapping[str, Array]) -> Arrays:
    return {name: array for name, array in inputs.items() if not name.startswith(ARGUMENT)}
