"""A backend whose device is missing, and which can run on the CPU in its place.

What it does in a shared worker depends on what ran there before: `poison` passes and leaves the
worker unusable, which is what a sticky error of a device does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fakes.good import backend as good

from harness.contract import Array, Arrays, Case, Device, Precision, Unavailable

_sticky = False


class Program(good.GoodProgram):
    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        self.entry = case.entry.name

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        outputs = super().__call__(inputs)
        return {k: v * 2 for k, v in outputs.items()} if self.entry == "wrong" else outputs


class Backend(good.Backend):
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self.options = options

    def probe(self) -> Device:
        if not self.options.get("fallback"):
            raise Unavailable("Expected a fake GPU, found none.", "make one.")
        return replace(super().probe(), emulated=False, fallback="cpu")

    def prepare(self, case: Case, precision: Precision) -> Program:
        global _sticky
        if _sticky:
            raise RuntimeError("an illegal memory access was encountered")
        _sticky = case.entry.name == "poison"
        return Program(case, precision.dtype)
