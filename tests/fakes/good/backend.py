"""A backend that computes right, on a device that does not exist."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from fakes._numpy_case import NumpyCase, linear

from harness.contract import Array, Arrays, Case, Device, Entry, Placement, Precision


class GoodProgram:
    """The case's own arithmetic, in float32 unless told otherwise."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.weights = {name: array.astype(dtype) for name, array in case.module().items()}

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        return {k: v.astype(np.float32) for k, v in linear(inputs, self.weights).items()}

    def placement(self) -> Placement:
        return Placement(1.0, "it is all made up")


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32"),
        Precision("f16", "float16", patience=2.0),
    )

    def __init__(self, options: Mapping[str, str]) -> None:
        faults = (part.split("=") for part in options.get("fault", "").split(",") if part)
        self.slow = {entry for kind, entry in faults if kind == "slow"}

    def probe(self) -> Device:
        return Device("Fake 1", "cpu", {"fake": "1.0"}, emulated=True)

    def case(self, entry: Entry, seed: int, size: str, head: str) -> Case:
        return NumpyCase(entry, seed, size, head)

    def prepare(self, case: Case, precision: Precision) -> GoodProgram:
        if case.entry.name in self.slow:
            time.sleep(30.0)
        return GoodProgram(case, precision.dtype)
