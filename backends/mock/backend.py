"""Mock backend: replays the signatures that torch-cpu recorded, without PyTorch or transformers.

Each mock model has the real one's argument and output names, dtypes and symbolic shapes
(`model_lists/signatures.txt`), and computes a smooth, seeded function of all its inputs, so that
every stage of the harness has something true to check. `--fault KIND=ENTRY` breaks one on demand.
"""

from __future__ import annotations

import copy
import ctypes
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from backends.mock.models import MockModel, MockProcessor, MockTokenizer, example, mock_pipeline
from harness.contract import (
    BASE,
    SIZES,
    Absent,
    Array,
    Arrays,
    Case,
    Device,
    Entry,
    HarnessError,
    PipelineCase,
    Placement,
    Precision,
    Unavailable,
    Unsupported,
    is_floating,
    label,
)
from harness.toolkit import signature
from harness.toolkit.seeded_values import integers, uniform
from harness.toolkit.signature import SNAPSHOT

#: Families whose tokens see no later one.
CAUSAL = frozenset({"decoder-only", "mixture-of-experts", "state-space"})


@cache
def recorded() -> Mapping[str, str]:
    """The lines of the snapshot by label, unparsed: a cell parses its own."""
    if not SNAPSHOT.exists():
        return {}
    lines = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    return {line.split(" ", 1)[0]: line for line in lines if line and not line.startswith("#")}


class MockCase:
    """Implements `harness.contract.Case` from one line of the snapshot."""

    def __init__(
        self, entry: Entry, line: signature.Signature, seed: int, head: str = BASE
    ) -> None:
        self.entry = entry
        self.head = head
        self.seed = seed
        self.line = line
        self.model_name = line.model
        self._made: dict[str, Arrays] = {}  # inputs, by variant

    def config(self) -> signature.Signature:
        """The recorded signature stands for the config."""
        return self.line

    def module(self) -> MockModel:
        """A fresh mock model with seeded weights."""
        module = copy.copy(self._template)
        module.weights = dict(module.weights)
        return module

    @cached_property
    def _template(self) -> MockModel:
        return MockModel(self.line, self.seed, causal=self.entry.family in CAUSAL)

    def inputs(self, variant: str = "base") -> Arrays:
        """Arrays of the recorded names, dtypes and shapes."""
        if variant in SIZES:
            raise Unsupported("one size of image is recorded")
        if variant not in self._made:
            self._made[variant] = self._inputs(variant)
        return {name: array.copy() for name, array in self._made[variant].items()}

    def _inputs(self, variant: str) -> Arrays:
        made: Arrays = {}
        for name, spec in self.line.inputs.items():
            shape = spec.shape(reshaped=variant == "reshaped")
            key = f"input/{variant}/{name}"
            if spec.dtype.startswith("float"):
                made[name] = uniform(self.seed, key, shape).astype(spec.dtype)
            elif "mask" in name or spec.dtype == "bool":
                made[name] = np.ones(shape, dtype=spec.dtype)
            else:
                made[name] = integers(self.seed, key, shape, 3, 96).astype(spec.dtype)
        return made

    def padding(self) -> int:
        """An id that no text of the mock has."""
        return 0

    def options(self) -> Mapping[str, Any]:
        """None: the mock takes arrays only."""
        return {}

    def outputs(self, raw: Any) -> Arrays:
        """Mock models return named arrays already."""
        return dict(raw)

    def tensors(self, raw: Any) -> Mapping[str, Any]:
        """The outputs as they are: a mock model has numpy arrays only."""
        return dict(raw)

    @property
    def seeded(self) -> bool:
        """The mock draws no random numbers."""
        return False

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """The mock's function in that dtype.

        Raises:
            Unsupported: the shapes of these inputs follow from nothing that is recorded.
        """
        try:
            self._template.sizes(inputs)
        except ValueError as error:
            raise Unsupported(str(error)) from error
        return self.module().to(dtype)(**inputs)

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        """The reference with noise on one weight."""
        module = self.module().to(dtype)
        before = module.weights[weight]
        rms = float(np.sqrt(np.mean(before**2)))
        noise = uniform(self.seed, f"control/{weight}", before.shape)
        module.weights[weight] = before + scale * rms * 3**0.5 * noise
        return module(**inputs)

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The reference in that dtype, without jitter: the mock never refuses float64."""
        return self.reference(inputs, dtype)

    def weights(self) -> Sequence[str]:
        """The mock's own weights."""
        return list(self.module().weights)

    def parameters(self) -> int:
        """As recorded from the real model."""
        return self.line.parameters

    @property
    def generation(self) -> None:
        """The mock has no cache that could go wrong."""

    def pipeline(self) -> PipelineCase:
        """Text and media, with a mock tokenizer and processor; every mock has a pipeline."""
        tokenizer, processor = MockTokenizer(self.line), MockProcessor(self.line)
        task, raw = self.entry.task or "feature-extraction", example(self.line)
        pipe = mock_pipeline(task, self.module(), tokenizer=tokenizer, processor=processor)
        components = {"tokenizer": tokenizer, "processor": processor}
        return PipelineCase(task, components, raw, pipe.preprocess(raw))

    def save(self, folder: Path) -> None:
        """The mock's `save_pretrained`."""
        self.module().save_pretrained(folder)


class MockProgram:
    """A mock model as a backend would run it."""

    def __init__(self, model: MockModel) -> None:
        self.model = model

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.model(**inputs)

    def placement(self) -> Placement:
        """A share of 1: there is no device."""
        return Placement(1.0, "numpy")


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (Precision("default", "float32"),)

    def __init__(self, options: Mapping[str, str]) -> None:
        self.faults = _faults(options.get("fault", ""))

    def probe(self) -> Device:
        """An emulated device by the name of numpy."""
        if not SNAPSHOT.exists():
            raise Unavailable(
                f"The mock replays {SNAPSHOT.name}, and there is none.",
                "write it with `python -m harness record` in torch-cpu's environment.",
            )
        return Device("numpy", "cpu", {"numpy": np.__version__}, emulated=True)

    def case(self, entry: Entry, seed: int, size: str, head: str = BASE) -> Case:
        """The recorded case of an entry, or of one of its heads.

        Raises:
            Absent: nothing was recorded: torch-cpu does not build it.
        """
        line = recorded().get(label(entry.name, head))
        if line is None:
            raise Absent(f"requires a recorded signature; {SNAPSHOT.name} has none")
        return MockCase(entry, signature.parse(line), seed, head)

    def prepare(self, case: Case, precision: Precision) -> MockProgram:
        """The mock model, or the fault that was asked for."""
        program = MockProgram(case.module().to(precision.dtype))
        kind = self.faults.get(case.entry.name)
        return FAULTS[kind](program) if kind else program

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> MockProgram:
        """The mock model from what `save` wrote."""
        return MockProgram(MockModel.from_pretrained(folder, dtype=precision.dtype))

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """Outputs of the mock pipeline for raw input, and the arrays that it feeds the model."""
        asked = case.pipeline()
        if asked is None or asked.inputs is None:
            return None
        model = case.module().to(precision.dtype)
        pipe = mock_pipeline(asked.task, model, **asked.components)
        return pipe(asked.raw), asked.inputs


def _faults(text: str) -> dict[str, str]:
    """`crash=bert,nan=gpt2` as entry -> kind."""
    found = {}
    for item in filter(None, text.replace(";", ",").split(",")):
        kind, _, entry = item.partition("=")
        if kind not in FAULTS or not entry:
            raise HarnessError(
                f"expected --fault KIND=ENTRY with a kind of {', '.join(FAULTS)}; found {item!r}. "
                f"Fix: write it as in --fault nan=bert"
            )
        found[entry] = kind
    return found


class _Broken(MockProgram):
    """A mock program with an injected fault: before its inference, or in its outputs."""

    def __init__(self, program: MockProgram, fault: Callable[[Arrays], Arrays]) -> None:
        super().__init__(program.model)
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
    time.sleep(0.2)
    return outputs


def _corrupt_result(outputs: Arrays) -> Arrays:
    os.write(int(os.environ["HARNESS_RESULT_FD"]), b"\x00\x00\x00\x08not this")
    return outputs


FAULTS: Mapping[str, Callable[[MockProgram], MockProgram]] = {
    kind: partial(_Broken, fault=fault)
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
