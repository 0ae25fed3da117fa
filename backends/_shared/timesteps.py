"""Sinusoids of timesteps, computed beside the model instead of within it.

A denoiser is told how noisy its image is by a timestep up to 1000, and takes sines of it. In
float16 such an angle is off by up to half a radian: a device that computes in 16 bits throughout
must be given the sines. Pipelines can, since they know the timesteps before they begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from backends._shared.positions import CompletedCase
from harness.contract import Array, Arrays, Case

#: diffusers' module without parameters that computes them.
MODULE = "Timesteps"
#: What the inputs are called that the model gets in place of computing them.
ARGUMENT = "time_sinusoids_"


class _Enough(Exception):
    """Every sinusoid is known; what comes after them in the model need not run."""


class _Told(nn.Module):
    """Stands for one module that computes sinusoids, and returns what it is told."""

    def __init__(self, told: list[torch.Tensor]) -> None:
        super().__init__()
        self.told = told  # shared by all of them, in the order in which they are asked

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels)."""
        return self.told.pop(0)


class _Given(nn.Module):
    """The model with sinusoids as further arguments of its forward."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.told: list[torch.Tensor] = []
        for name in _names(module):
            module.set_submodule(name, _Told(self.told))

    def forward(self, **inputs: Any) -> Any:
        """What the model returns."""
        self.told[:] = [inputs.pop(name) for name in sorted(inputs) if name.startswith(ARGUMENT)]
        return self.module(**inputs)


class _GivenCase(CompletedCase):
    """A case whose model is given the sinusoids; all else is the case's own."""

    def module(self) -> Any:
        """A fresh model that takes them."""
        return _Given(self._case.module()).eval()

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """The case's own: its model computes them."""
        return self._case.reference(_without(inputs), dtype, seed=seed)

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The case's own."""
        return self._case.jittered(_without(inputs), dtype)


def completed(case: Case) -> tuple[Case, Callable[[Mapping[str, Array]], Arrays]]:
    """The same case with sinusoids among its inputs, and what adds them to others.

    They are float32, of shape (batch, channels), under names that begin with `ARGUMENT`.
    """
    module = case.module()
    if not _names(module):
        return case, dict
    found: list[torch.Tensor] = []
    asked = 0  # how often, in one inference; not known yet

    def keep(_module: Any, _given: Any, sinusoid: torch.Tensor) -> None:
        found.append(sinusoid)
        if len(found) == asked:
            raise _Enough

    for name in _names(module):
        module.get_submodule(name).register_forward_hook(keep)

    def complete(inputs: Mapping[str, Array]) -> Arrays:
        nonlocal asked
        found.clear()
        with torch.no_grad():
            try:
                given = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
                module(**given, **case.options())
            except _Enough:
                pass
        asked = len(found)
        added = {f"{ARGUMENT}{i}": sinusoid.numpy() for i, sinusoid in enumerate(found)}
        return {**inputs, **added}

    return cast(Case, _GivenCase(case, complete)), complete


def _names(module: Any) -> list[str]:
    return [name for name, part in module.named_modules() if type(part).__name__ == MODULE]


def _without(inputs: Mapping[str, Array]) -> Arrays:
    return {name: array for name, array in inputs.items() if not name.startswith(ARGUMENT)}
