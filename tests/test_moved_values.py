"""Data moved by one rounding: what a model amplifies of it is no error of a backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.toolkit import numerics, seeded_values

torch = pytest.importorskip("torch")

from harness.models.eager_reference import EagerReference  # noqa: E402
from harness.models.module_copy import ModuleCopies  # noqa: E402
from harness.models.moved_values import inputs_moved, module_moved  # noqa: E402

STEP = float(np.finfo(np.float32).eps)


class Sinusoids(torch.nn.Module):  # type: ignore[name-defined]
    """Sines of large timesteps, as a denoiser embeds them: frequencies are made in float32."""

    def forward(self, timestep: Any) -> Any:
        frequencies = torch.exp(-torch.arange(32, dtype=torch.float32) * 0.2)
        return {"y": torch.sin(timestep.float()[:, None] * frequencies).to(timestep.dtype)}


class Buffered(torch.nn.Module):  # type: ignore[name-defined]
    """Sines of frequencies that are a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(-torch.arange(32) * 0.2))

    def forward(self, timestep: Any) -> Any:
        angles = timestep.float()[:, None] * self.frequencies.float()
        return {"y": torch.sin(angles).to(timestep.dtype)}


class Transform(torch.nn.Module):  # type: ignore[name-defined]
    """A Fourier transform of an odd length."""

    def forward(self, timestep: Any) -> Any:
        return {"y": torch.fft.fft(timestep.reshape(1, -1)).real}


def errors(module: Any, values: Any) -> tuple[float, float]:
    """Errors of eager execution in float32, and of data moved by one rounding of it."""
    eager = EagerReference(ModuleCopies(module.eval()), {}, "eager", 0)
    given = {"timestep": np.asarray(values, np.float32)}
    want = eager.outputs(given, "float64", 0)
    moved = eager.jittered(given, "float32", 1.0)
    again = eager.jittered(given, "float32", 1.0)
    assert np.array_equal(moved["y"], again["y"])
    single = eager.outputs(given, "float32", 0)
    return numerics.difference(single, want).error, numerics.difference(moved, want).error


@pytest.mark.parametrize("module", [Sinusoids, Buffered])
def test_sines_of_large_timesteps_amplify_the_last_bit(module: Any) -> None:
    single, moved = errors(module(), [937.0, 412.0])
    assert moved > 5 * single
    assert moved < 1e-4


def test_a_fourier_transform_rounds_with_its_length() -> None:
    single, moved = errors(Transform(), np.linspace(-1, 1, 21) ** 3)
    assert 5 * single < moved < 1e-5


def test_whole_numbers_are_not_moved() -> None:
    given = {
        "attention_mask": np.array([[1, 1, 0]], np.float32),
        "timestep": np.array([937.0], np.float32),
        "ids": np.array([3, 4]),
        "pixels": np.array([0.3, -1.7], np.float32),
    }
    moved = inputs_moved(given, STEP, 0)
    assert [name for name in given if not np.array_equal(given[name], moved[name])] == ["pixels"]
    assert np.abs(moved["pixels"] / given["pixels"] - 1).max() <= 2 * STEP
    assert {name: array.dtype for name, array in moved.items()} == {
        name: array.dtype for name, array in given.items()
    }


def test_a_large_table_is_moved_as_a_whole_one_would_be() -> None:
    step, seed = 2.0**-20, 5
    made = torch.nn.Sequential(
        torch.nn.Embedding(2_000, 700),  # more values than one block, on several threads
        torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last),  # not contiguous
    )
    before = {name: held.detach().clone() for name, held in made.named_parameters()}
    module_moved(made, step, seed)
    for name, held in made.named_parameters():
        noise = seeded_values.uniform(seed, f"jitter/{name}", tuple(held.shape))
        want = before[name] * (1 + torch.from_numpy(noise) * step)
        assert torch.equal(held, want)
        assert not torch.equal(held, before[name])
