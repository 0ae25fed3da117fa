"""Sinusoids of timesteps are computed beside the model, and are what the model would compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from backends._shared import timesteps
from harness.contract import Arrays


class Timesteps(torch.nn.Module):
    """As diffusers' module of that name: no parameters."""

    def forward(self, timesteps: Any) -> Any:
        return torch.sin(timesteps[:, None] * torch.tensor([1.0, 0.1]))


class Denoiser(torch.nn.Module):
    """Asks for two sinusoids, and computes something after them."""

    def __init__(self, ran: list[str]) -> None:
        super().__init__()
        self.time_proj = Timesteps()
        self.inner = torch.nn.ModuleDict({"guidance": Timesteps()})
        self.ran = ran

    def forward(self, sample: Any, timestep: Any, scale: float = 1.0) -> Any:
        found = sample * scale + self.time_proj(timestep) + 2 * self.inner["guidance"](timestep + 1)
        self.ran.append("to its end")
        return (found,)


class Case:
    """As much of a case as is asked."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def module(self) -> Any:
        return Denoiser(self.ran)

    def inputs(self, name: str = "base") -> Arrays:
        start = 999.0 if name == "base" else 37.0
        return {"sample": np.ones((2, 2), "f4"), "timestep": np.array([start, 3.0], "f4")}

    def options(self) -> Mapping[str, Any]:
        return {"scale": 2.0}

    def reference(self, inputs: Arrays, dtype: str = "float64", *, seed: int = 0) -> Arrays:
        return dict(inputs)

    def jittered(self, inputs: Arrays, dtype: str) -> Arrays:
        return dict(inputs)


def tensors(arrays: Arrays) -> dict[str, Any]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


@pytest.mark.parametrize("variant", ["base", "other"])
def test_the_model_that_is_told_gives_what_the_model_gives(variant: str) -> None:
    case = Case()
    given, complete = timesteps.completed_case(case)  # type: ignore[arg-type]
    inputs = given.inputs(variant)
    assert sorted(inputs) == ["sample", "time_sinusoids_0", "time_sinusoids_1", "timestep"]
    assert complete(case.inputs(variant)).keys() == inputs.keys()
    (want,) = case.module()(**tensors(case.inputs(variant)), scale=2.0)
    (got,) = given.module()(**tensors(inputs), scale=2.0)
    assert torch.equal(got, want)


def test_it_takes_no_sine_itself() -> None:
    given, _ = timesteps.completed_case(Case())  # type: ignore[arg-type]
    inputs = tensors(given.inputs())
    inputs["time_sinusoids_0"] += 1
    changed = given.module()(**inputs, scale=2.0)[0]
    assert torch.allclose(changed, given.module()(**tensors(given.inputs()), scale=2.0)[0] + 1)


def test_the_model_runs_to_its_end_but_once() -> None:
    case = Case()
    given, _ = timesteps.completed_case(case)  # type: ignore[arg-type]
    for name in ("base", "other", "base"):
        given.inputs(name)
    assert case.ran == ["to its end"]


def test_the_reference_computes_them_itself() -> None:
    case = Case()
    given, _ = timesteps.completed_case(case)  # type: ignore[arg-type]
    assert given.reference(given.inputs()).keys() == case.inputs().keys()
    assert given.jittered(given.inputs(), "float16").keys() == case.inputs().keys()


def test_a_model_without_timesteps_is_left_as_it_is() -> None:
    case = Case()
    case.module = lambda: torch.nn.Linear(2, 2)  # type: ignore[method-assign]
    given, complete = timesteps.completed_case(case)  # type: ignore[arg-type]
    assert given is case  # type: ignore[comparison-overlap]
    assert complete is dict
