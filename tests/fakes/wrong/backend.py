"""Planted faults: a backend that is wrong in one way for each of its precisions.

The mock's models stand for the library's. `FAULTS` says of each precision what is wrong with its
program; `tests/fault_table.py` runs them all, and docs/method.md shows which check catches which.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.mock import backend as mock
from backends.mock.models import MockModel
from harness.contract import Array, Arrays, Case, Placement, Precision, Unsupported, is_floating
from harness.toolkit.padded_inputs import MASK


class Program(mock.MockProgram):
    """A mock program with room for what a fault remembers."""

    calls = 0
    kept: Arrays | None = None
    share = 1.0

    def placement(self) -> Placement:
        """The placement that the fault claims."""
        return Placement(self.share, "said so", {"MatMul": 2} if self.share < 1 else {})


Call = Callable[[Program, Mapping[str, Array]], Arrays]


def right(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """The right outputs."""
    return program.model(**inputs)


def each(change: Callable[[Array], Array]) -> Call:
    """The right outputs, changed where they are floating."""

    def call(program: Program, inputs: Mapping[str, Array]) -> Arrays:
        outputs = right(program, inputs)
        return {n: change(a) if is_floating(a) else a for n, a in outputs.items()}

    return call


def first_value(value: float) -> Callable[[Array], Array]:
    """Sets one element."""

    def change(array: Array) -> Array:
        array = array.copy()
        array.flat[0] = value
        return array

    return change


def larger(array: Array) -> Array:
    """By a thousandth."""
    return np.multiply(array, 1.001, dtype=array.dtype)


def one_weight(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """One of the model's numbers is off by a thousandth."""
    if not program.calls:
        program.calls = 1
        weight = program.model.weights["mix"].copy()
        weight[0] *= 1.001
        program.model.weights["mix"] = weight
    return right(program, inputs)


def in_half(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """float16, where float32 was promised."""
    program.model.to("float16")
    return {n: a.astype(np.float32) if is_floating(a) else a for n, a in
            right(program, inputs).items()}  # fmt: skip


def first_answer(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """The outputs of the first inference again, whenever the shapes are the same."""
    outputs = right(program, inputs)
    program.kept = program.kept or outputs
    kept = program.kept
    alike = all(kept[n].shape == a.shape for n, a in outputs.items())
    return dict(kept) if alike else outputs


def without_mask(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """No token is padding."""
    return right(program, {**inputs, MASK: np.ones_like(inputs[MASK])})


def mask_on_the_right(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Padding is expected behind the text: the mask's length counts, not its places."""
    mask = np.sort(inputs[MASK], axis=1)[:, ::-1]
    return right(program, {**inputs, MASK: np.ascontiguousarray(mask)})


def fixed_shape(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Only the shape of the example is taken."""
    if inputs["input_ids"].shape != (2, 16):
        raise ValueError("expected input_ids of shape (2, 16)")
    return right(program, inputs)


def baked_length(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Outputs behind the example's length are a tenth too small."""
    outputs = right(program, inputs)
    for name, array in outputs.items():
        if is_floating(array) and array.ndim > 2 and array.shape[1] > 16:
            outputs[name] = np.concatenate([array[:, :16], 0.9 * array[:, 16:]], axis=1)
    return outputs


def without_last(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """One output fewer."""
    outputs = right(program, inputs)
    outputs.popitem()
    return outputs


def renamed(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Outputs by number."""
    return {f"output_{i}": a for i, a in enumerate(right(program, inputs).values())}


def later_wrong(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Right for ten inferences, wrong ever after."""
    program.calls += 1
    outputs = right(program, inputs)
    return {n: a * 2 for n, a in outputs.items()} if program.calls > 10 else outputs


def writes(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """Zeros are left in the inputs, past numpy's flag, as `torch.from_numpy` does."""
    outputs = right(program, inputs)
    for array in inputs.values():
        ctypes.memset(array.ctypes.data, 0, array.nbytes)
    return outputs


def wide(program: Program, inputs: Mapping[str, Array]) -> Arrays:
    """float64, where float32 was promised."""
    return {n: a.astype(np.float64) if is_floating(a) else a for n, a in
            right(program, inputs).items()}  # fmt: skip


def elsewhere(share: float) -> Call:
    """The right outputs, of which a part was computed on another device."""

    def call(program: Program, inputs: Mapping[str, Array]) -> Arrays:
        program.share = share
        return right(program, inputs)

    return call


def first(action: Callable[[], object]) -> Call:
    """Something happens instead of an inference."""

    def call(program: Program, inputs: Mapping[str, Array]) -> Arrays:
        action()
        return right(program, inputs)

    return call


def refuse() -> None:
    """The backend says that it can't."""
    raise Unsupported("no translation for aten::frobnicate")


def kill() -> None:
    """As the kernel does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def write_into_pipe() -> None:
    """As a library does that prints to a descriptor that it takes for its own."""
    os.write(int(os.environ["HARNESS_RESULT_FD"]), b"rubbish from a C library\n")


def hang() -> None:
    """For ever."""
    while True:
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to be wrong."""

    about: str
    call: Call = right
    where: str = "program"  # or pipeline, or from_pretrained


FAULTS: Mapping[str, Fault] = {
    "none": Fault("nothing: every check passes"),
    "scaled": Fault("every output is larger by a thousandth", each(larger)),
    "one-weight": Fault("one number of one weight is larger by a thousandth", one_weight),
    "half": Fault("computes in float16, float32 was promised", in_half),
    "nan": Fault("one value of each output is NaN", each(first_value(float("nan")))),
    "infinite": Fault("one value of each output is infinite", each(first_value(float("inf")))),
    "constant": Fault("every output is 1 throughout", each(np.ones_like)),
    "rows-swapped": Fault("the rows of the batch change places", each(lambda a: a[::-1].copy())),
    "flat": Fault("outputs have another shape", each(lambda a: a.reshape(-1))),
    "output-missing": Fault("the last output is missing", without_last),
    "outputs-renamed": Fault("outputs have other names", renamed),
    "first-answer": Fault("answers every inference as the first one", first_answer),
    "mask-ignored": Fault("takes padding for text", without_mask),
    "mask-right-only": Fault("takes the padding to stand on the right", mask_on_the_right),
    "shape-fixed": Fault("raises on another batch and length", fixed_shape),
    "length-baked": Fault("is wrong behind the example's length, in silence", baked_length),
    "half-elsewhere": Fault("half of the work ran on another device", elsewhere(0.5)),
    "all-elsewhere": Fault("all of the work ran on another device", elsewhere(0.0)),
    "pipeline-wrong": Fault(
        "only `pipeline()` is wrong, by a thousandth", each(larger), "pipeline"
    ),
    "load-wrong": Fault(
        "only `from_pretrained()` is wrong, by one weight", one_weight, "from_pretrained"
    ),
    "refuses": Fault("says that it can't", first(refuse)),
    "segfault": Fault("reads address 0", first(lambda: ctypes.string_at(0))),
    "abort": Fault("a library calls abort()", first(os.abort)),
    "exits": Fault("a library calls exit()", first(lambda: sys.exit("goodbye"))),
    "killed": Fault("the kernel kills the process", first(kill)),
    "hangs": Fault("an inference never ends", first(hang)),
    "allocates": Fault("asks for 400 GB", first(lambda: np.ones(50_000_000_000))),
    "pipe-broken": Fault(
        "a library writes into the pipe of results",
        first(write_into_pipe),
    ),
    "writes-inputs": Fault("leaves zeros in its inputs", writes),
    "wrong-later": Fault("is right ten times, then wrong", later_wrong),
    "wide": Fault("returns float64, float32 was promised", wide),
    "share-nan": Fault("says that a share of NaN ran on the device", elsewhere(float("nan"))),
}  # fmt: skip


class FaultyProgram(Program):
    """A program with one of the faults."""

    def __init__(self, model: MockModel, fault: Fault) -> None:
        super().__init__(model)
        self.fault = fault

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.fault.call(self, inputs)


class Backend(mock.Backend):
    """Implements `harness.contract.Backend`."""

    precisions = tuple(
        Precision("default" if name == "none" else name, "float32") for name in FAULTS
    )

    def _program(self, model: MockModel, precision: Precision, where: str) -> Program:
        fault = FAULTS["none" if precision.name == "default" else precision.name]
        model = model.to(precision.dtype)
        return FaultyProgram(model, fault) if fault.where == where else Program(model)

    def prepare(self, case: Case, precision: Precision) -> Program:
        """The mock model, wrong as the precision says."""
        return self._program(case.module(), precision, "program")

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> Program:
        """The saved model, wrong as the precision says."""
        model = MockModel.from_pretrained(folder, dtype=precision.dtype)
        return self._program(model, precision, "from_pretrained")

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """The mock pipeline's answer, wrong as the precision says."""
        answered = super().pipeline(case, precision)
        if answered is None:
            return None
        program = self._program(case.module(), precision, "pipeline")
        return program(answered[1]), answered[1]
