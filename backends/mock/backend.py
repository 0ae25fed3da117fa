"""Every entry without weights, PyTorch or transformers: replays what torch-cpu recorded.

Each mock model has the real one's argument and output names, dtypes and symbolic shapes
(`signatures.txt`), and computes a smooth, seeded function of all its inputs, so that every stage of
the harness has something true to check. `--fault KIND=ENTRY` breaks one on demand.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.mock.models import MockModel, MockProcessor, MockTokenizer, mock_pipeline
from harness import signature, weights
from harness.contract import (
    Absent,
    Array,
    Arrays,
    Case,
    Device,
    Entry,
    Placement,
    Precision,
    Unavailable,
    is_floating,
)

SNAPSHOT = Path(__file__).parent / "signatures.txt"


class MockCase:
    """Implements `harness.contract.Case` from one line of the snapshot."""

    def __init__(self, entry: Entry, line: signature.Signature, seed: int) -> None:
        self.entry = entry
        self.seed = seed
        self.line = line
        self.model_name = line.model

    def config(self) -> Any:
        """The recorded signature stands for the config."""
        return self.line

    def module(self) -> MockModel:
        """A fresh mock model with seeded weights."""
        return MockModel(self.line, self.seed)

    def inputs(self, variant: str = "base") -> Arrays:
        """Arrays of the recorded names, dtypes and shapes."""
        made: Arrays = {}
        for name, spec in self.line.inputs.items():
            shape = spec.shape(reshaped=variant == "reshaped")
            key = f"input/{variant}/{name}"
            if spec.dtype.startswith("float"):
                made[name] = weights.uniform(self.seed, key, shape).astype(spec.dtype)
            elif "mask" in name or spec.dtype == "bool":
                made[name] = np.ones(shape, dtype=spec.dtype)
            else:
                made[name] = weights.integers(self.seed, key, shape, 3, 96).astype(spec.dtype)
        return made

    def options(self) -> Mapping[str, Any]:
        """None: the mock takes arrays only."""
        return {}

    def outputs(self, raw: Any) -> Arrays:
        """Mock models return named arrays already."""
        return dict(raw)

    @property
    def seeded(self) -> bool:
        """The mock draws no random numbers."""
        return False

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """The mock's function in that dtype."""
        return self.module()(dtype=dtype, **inputs)

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        """The reference with noise on one weight."""
        module = self.module()
        rms = float(np.sqrt(np.mean(module.weights[weight] ** 2)))
        noise = weights.uniform(self.seed, f"control/{weight}", module.weights[weight].shape)
        module.weights[weight] = module.weights[weight] + scale * rms * 3**0.5 * noise
        return module(dtype=dtype, **inputs)

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The function in that dtype: the mock never refuses float64."""
        return self.reference(inputs, dtype)

    def weights(self) -> Sequence[str]:
        """The mock's own weights."""
        return list(self.module().weights)

    def parameters(self) -> int:
        """As recorded from the real model."""
        return self.line.parameters

    def save(self, folder: Path) -> None:
        """The mock's `save_pretrained`."""
        self.module().save_pretrained(folder)


class MockProgram:
    """A mock model as a backend would run it, in its precision's dtype."""

    def __init__(self, model: MockModel, dtype: str) -> None:
        self.model = model
        self.dtype = dtype

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.model(dtype=self.dtype, **inputs)

    def placement(self) -> Placement:
        """All of it: there is no device."""
        return Placement(1.0, "numpy")


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (Precision("default", "float32"),)

    def __init__(self, options: Mapping[str, str]) -> None:
        self.faults = _faults(options.get("fault", ""))

    def probe(self) -> Device:
        """No device at all, and it says so."""
        if not SNAPSHOT.exists():
            raise Unavailable(
                f"The mock replays {SNAPSHOT.name}, and there is none.",
                "write it with `python -m harness record` in torch-cpu's environment.",
            )
        return Device("numpy", "cpu", {"numpy": np.__version__}, emulated=True)

    def case(self, entry: Entry, seed: int, size: str) -> Case:
        """The recorded case of an entry.

        Raises:
            Absent: nothing was recorded: torch-cpu does not build it.
        """
        line = signature.load(SNAPSHOT).get(entry.name)
        if line is None:
            raise Absent(f"requires a recorded signature; {SNAPSHOT.name} has none")
        return MockCase(entry, line, seed)

    def prepare(self, case: Case, precision: Precision) -> MockProgram:
        """The mock model, or the fault that was asked for."""
        program = MockProgram(case.module(), precision.dtype)
        kind = self.faults.get(case.entry.name)
        return FAULTS[kind](program) if kind else program

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> MockProgram:
        """The mock model from what `save` wrote."""
        return MockProgram(MockModel.from_pretrained(folder), precision.dtype)

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """What the mock pipeline gives for raw input, and the arrays that it feeds the model."""
        model: MockModel = case.module()
        tokenizer, processor = MockTokenizer(model.line), MockProcessor(model.line)
        pipe = mock_pipeline(case.entry.task, model, tokenizer=tokenizer, processor=processor)
        raw = pipe.example()
        return pipe(raw), pipe.preprocess(raw)


def _faults(text: str) -> dict[str, str]:
    """`crash=bert,nan=gpt2` as entry -> kind."""
    found = {}
    for item in filter(None, text.replace(";", ",").split(",")):
        kind, _, entry = item.partition("=")
        if kind not in FAULTS or not entry:
            raise ValueError(
                f"expected --fault KIND=ENTRY with a kind of {', '.join(FAULTS)}; found {item!r}"
            )
        found[entry] = kind
    return found


class _Broken(MockProgram):
    """A mock program whose inference does something else first, or to its outputs."""

    def __init__(self, program: MockProgram, fault: Callable[[Arrays], Arrays]) -> None:
        super().__init__(program.model, program.dtype)
        self.fault = fault

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        return self.fault(super().__call__(inputs))


def _crash(outputs: Arrays) -> Arrays:
    ctypes.string_at(0)  # a segmentation fault
    return outputs


def _hang(outputs: Arrays) -> Arrays:
    while True:
        time.sleep(0.01)


def _oom(outputs: Arrays) -> Arrays:
    held = np.ones(50_000_000_000 // 8)
    return {"held": held, **outputs}


def _nan(outputs: Arrays) -> Arrays:
    return {n: np.full_like(a, np.nan) if is_floating(a) else a for n, a in outputs.items()}


def _drift(outputs: Arrays) -> Arrays:
    return {n: a * np.float32(1.001) if is_floating(a) else a for n, a in outputs.items()}


def _slow(outputs: Arrays) -> Arrays:
    time.sleep(0.3)
    return outputs


def _corrupt_result(outputs: Arrays) -> Arrays:
    os.write(int(os.environ["HARNESS_RESULT_FD"]), b"\x00\x00\x00\x08not this")
    return outputs


FAULTS: Mapping[str, Callable[[MockProgram], MockProgram]] = {
    kind: lambda program, fault=fault: _Broken(program, fault)  # type: ignore[misc]
    for kind, fault in {
        "crash": _crash,
        "hang": _hang,
        "oom": _oom,
        "nan": _nan,
        "drift": _drift,
        "slow": _slow,
        "corrupt-result": _corrupt_result,
    }.items()
}
