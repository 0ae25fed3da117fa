"""A model in numpy: a linear map of its inputs, with weights that follow from a seed.

It keeps the contract of `harness.contract.Case`, so that a fake backend passes through the same
stages and checks as a real one, without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array, Arrays, Entry, Unsupported

BATCH, WIDTH, OUT = 2, 16, 8
SHAPES = {"inner": (WIDTH, WIDTH), "outer": (OUT, WIDTH)}


def linear(inputs: Mapping[str, Array], weights: Mapping[str, Array]) -> Arrays:
    """Two matrix products with a tanh between, in the dtype of the weights."""
    dtype = weights["inner"].dtype
    hidden = np.tanh(inputs["values"].astype(dtype) @ weights["inner"].T)
    return {"output": hidden @ weights["outer"].T}


class NumpyCase:
    """One entry as a two-layer map."""

    generation = None

    def __init__(self, entry: Entry, seed: int, size: str, head: str = "base") -> None:
        self.head = head
        self._entry = entry
        self.seed = seed
        self.size = size

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def model_name(self) -> str:
        return "Linear"

    def config(self) -> dict[str, int]:
        return {"width": WIDTH, "out": OUT}

    def module(self) -> dict[str, Array]:
        """The weights, float32."""
        random = np.random.default_rng([self.seed, *self._entry.name.encode()])
        return {
            name: (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
            for name, shape in SHAPES.items()
        }

    def inputs(self, variant: str = "base") -> Arrays:
        if variant == "reshaped":
            raise Unsupported("one shape only")
        random = np.random.default_rng([self.seed, *variant.encode()])
        return {"values": random.standard_normal((BATCH, WIDTH)).astype(np.float32)}

    def padding(self) -> int:
        return 0

    def options(self) -> Mapping[str, Any]:
        return {}

    def outputs(self, raw: Any) -> Arrays:
        return dict(raw)

    def tensors(self, raw: Any) -> Mapping[str, Any]:
        return dict(raw)

    @property
    def seeded(self) -> bool:
        return False

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        weights = {name: array.astype(dtype) for name, array in self.module().items()}
        return {k: v.astype(np.float64) for k, v in linear(inputs, weights).items()}

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The same with the sums in another order."""
        flipped = {"values": inputs["values"][:, ::-1].astype(dtype)}
        weights = {name: array.astype(dtype) for name, array in self.module().items()}
        weights["inner"] = weights["inner"][:, ::-1]
        return linear(flipped, weights)

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        weights: dict[str, Any] = {k: v.astype(dtype) for k, v in self.module().items()}
        noise = np.random.default_rng(1).standard_normal(weights[weight].shape)
        spread = np.sqrt(np.mean(weights[weight] ** 2))
        weights[weight] = weights[weight] + (scale * spread * noise).astype(dtype)
        return linear(inputs, weights)

    def weights(self) -> Sequence[str]:
        return list(SHAPES)

    def parameters(self) -> int:
        return sum(int(np.prod(shape)) for shape in SHAPES.values())

    def pipeline(self) -> None:
        return None

    def save(self, folder: Path) -> None:
        np.savez(folder / "weights.npz", **self.module())  # type: ignore[arg-type]
