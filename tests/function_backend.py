"""A backend that is a function of a few lines of numpy, and a runner of cells on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.cell import stages
from harness.cell.request import Job
from harness.contract import (
    Array,
    Arrays,
    Cell,
    CellFailure,
    CellResult,
    Entry,
    Placement,
    Precision,
    Stage,
)
from harness.toolkit import numerics

BATCH, WIDTH = 2, 16

Function = Callable[[Arrays, Arrays], Arrays]
Fault = Callable[[Arrays], Arrays]


def plain(x: Arrays, w: Arrays) -> Arrays:
    """Both inputs count; `codes` are integers that follow from the other output."""
    y = np.tanh(x["left"] @ w["inner"]) @ w["outer"] + x["right"] @ w["other"]
    return {"y": y, "codes": np.floor(4 * y).astype(np.int64)}


class FunctionCase:
    """A case that is a function of inputs and weights, in the dtype to compute in."""

    seeded = False
    head = "base"
    generation = None
    model_name = "FunctionModel"

    def __init__(self, function: Function = plain, **names: str) -> None:
        self.function = function
        given = {"family": "structured", "architecture": "function", "name": "thing", **names}
        self.entry = Entry(**given)  # type: ignore[arg-type]

    def config(self) -> None:
        return None

    def module(self) -> Arrays:
        random = np.random.default_rng(0)
        return {
            name: (random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
            for name in self.weights()
        }

    def inputs(self, variant: str = "base") -> Arrays:
        random = np.random.default_rng(list(variant.encode()))
        rows = 3 if variant == "reshaped" else BATCH
        return {
            name: random.standard_normal((rows, WIDTH)).astype(np.float32)
            for name in ("left", "right")
        }

    def padding(self) -> int:
        return 0

    def options(self) -> Mapping[str, Any]:
        return {}

    def outputs(self, raw: Any) -> Arrays:
        return dict(raw)

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        return self._computed(inputs, self.module(), dtype)

    def _computed(self, inputs: Mapping[str, Array], weights: Arrays, dtype: str) -> Arrays:
        return self.function(cast(inputs, dtype), cast(weights, dtype))

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        weights = cast(self.module(), "float64")
        noise = np.random.default_rng(1).standard_normal(weights[weight].shape)
        weights[weight] += scale * noise * np.sqrt(np.mean(weights[weight] ** 2))
        return self._computed(inputs, weights, dtype)

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        step = np.float32(numerics.SMALLEST_FLOOR[dtype])
        moved = {n: a * (1 + step * (-1) ** i) for i, (n, a) in enumerate(self.module().items())}
        return self._computed(inputs, moved, "float32")

    def weights(self) -> Sequence[str]:
        return ["inner", "outer", "other"]

    def parameters(self) -> int:
        return 3 * WIDTH**2

    def pipeline(self) -> None:
        return None

    def save(self, folder: Path) -> None:
        np.savez(folder / "weights.npz", **self.module())  # type: ignore[arg-type]


def cast(arrays: Mapping[str, Array], dtype: str) -> Arrays:
    return {name: array.astype(dtype) for name, array in arrays.items()}


class FunctionProgram:
    """The case's function, and then a fault."""

    def __init__(self, case: FunctionCase, dtype: str, fault: Fault) -> None:
        self.case, self.weights, self.dtype, self.fault = case, case.module(), dtype, fault
        self.placed = Placement(1.0, "made up")

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        found = self.case.function(cast(inputs, self.dtype), cast(self.weights, self.dtype))
        return self.fault({name: array.copy() for name, array in found.items()})

    def placement(self) -> Placement:
        return self.placed


def right(outputs: Arrays) -> Arrays:
    return outputs


class FunctionBackend:
    """Implements `harness.contract.Backend`; tests add what it has beyond that."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32"),
        Precision("f16", "float16"),
    )

    def __init__(self, case: FunctionCase | None = None, fault: Fault = right) -> None:
        self.made = case or FunctionCase()
        self.fault = fault
        self.placed = Placement(1.0, "made up")

    def case(self, entry: Entry, seed: int, size: str, head: str) -> FunctionCase:
        return self.made

    def prepare(self, case: FunctionCase, precision: Precision) -> FunctionProgram:
        program = FunctionProgram(case, precision.dtype, self.fault)
        program.placed = self.placed
        return program


class Runner:
    """Runs cells on backends that are no folders; keeps which stages they reported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.stages: list[Stage] = []

    def __call__(
        self,
        backend: Any = None,
        *,
        precision: str = "default",
        signature: str | None = None,
        checks: str = "default",
        checks_library: bool = False,
        size: str = "tiny",
        seed: int = 0,
    ) -> CellResult:
        backend = backend or FunctionBackend()
        self.stages = []
        spec = BackendSpec(Path("here"), "A fake")
        self.monkeypatch.setattr(backends, "find", lambda *_: spec)
        self.monkeypatch.setattr(backends, "load", lambda *_: backend)
        made = Cell(backend.made.entry, "fake", precision)
        job = Job(
            made,
            seed,
            size,
            Path(),
            {},
            signature,
            checks=checks,
            checks_library=checks_library,
        )
        return stages.run(job, self._report)

    def _report(self, stage: Stage, failures: Sequence[CellFailure]) -> None:
        if self.stages[-1:] != [stage]:  # a failure is told of within its stage
            self.stages.append(stage)
