"""The planted faults: what is wrong with a backend's program, and what has to be said of it."""

from __future__ import annotations

import ctypes
import enum
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from backends._shared.torch.backend import TorchProgram
from harness.contract import (
    Array,
    Arrays,
    Generated,
    GenerationRequest,
    Placement,
    Unsupported,
    is_floating,
)
from harness.models.quantized import quantize
from harness.toolkit import numerics
from harness.toolkit.padded_inputs import MASK

Change = Callable[[Array], Array]
#: A fault applied to the right outputs: (program, outputs) -> what the backend returns.
Call = Callable[[Any, Any], Any]


class Where(enum.Enum):
    """Which way to the model is wrong."""

    PROGRAM = "program"
    LOADED = "from_pretrained"
    PIPELINE = "pipeline"
    GENERATED = "generate"
    WRITTEN = "pipeline that generates"


class FaultyProgram(TorchProgram):
    """A right program with a fault, and room for what the fault remembers."""

    def __init__(self, module: Any, case: Any, device: Any, mode: Any, fault: Fault) -> None:
        super().__init__(module, case, device, mode)
        self.fault = fault
        self.calls = 0
        self.threads = torch.get_num_threads()
        self.given: Mapping[str, Array] = {}
        self.kept: Any = None

    def __call__(self, inputs: Mapping[str, Array]) -> Any:
        """One inference."""
        self.calls += 1
        self.given = inputs
        return self.fault.call(self, super().__call__(self.fault.fed(self, inputs)))

    def placement(self) -> Any:
        """As the fault says."""
        return self.fault.placed()


# --- Wrong outputs ----------------------------------------------------------------------------


def right(program: Any, outputs: Any) -> Any:
    """The right outputs."""
    return outputs


def each(change: Change) -> Call:
    """Floating outputs, changed."""
    return lambda _, outputs: {n: change(a) if is_floating(a) else a for n, a in outputs.items()}


def first(change: Change) -> Call:
    """The first output, changed."""

    def call(_: Any, outputs: Arrays) -> Arrays:
        name = next(iter(outputs))
        return {**outputs, name: change(outputs[name])}

    return call


def by(factor: float) -> Change:
    """Times a number, in the array's own dtype."""
    return lambda array: np.multiply(array, factor, dtype=array.dtype)


def one_value(value: float) -> Change:
    """One element is this."""

    def change(array: Array) -> Array:
        array = array.copy()
        array.flat[array.size // 2] = value
        return array

    return change


def one_place(place: Any, factor: float) -> Change:
    """One row or column, times a number."""

    def change(array: Array) -> Array:
        array = array.copy()
        array[place] *= factor
        return array

    return change


def through(dtype: str) -> Change:
    """Rounded to another dtype, and back."""
    return lambda array: array.astype(dtype).astype(array.dtype)


# --- Wrong weights ----------------------------------------------------------------------------


def matrices(module: Any) -> list[Any]:
    """The weights of two dimensions that are no table of tokens or positions."""
    return [
        parameter
        for name, parameter in module.named_parameters()
        if parameter.ndim == 2 and not re.search("embed|shared|wte|wpe|bias", name)
    ]


def weights(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    """The module's parameters, changed once."""

    def prepared(program: FaultyProgram) -> FaultyProgram:
        with torch.no_grad():
            change(program.module)
        return program

    return prepared


def one_matrix(factor: float) -> Callable[[Any], None]:
    """The middle matrix, times a number."""

    def change(module: Any) -> None:
        found = matrices(module)
        found[len(found) // 2].mul_(factor)

    return change


def one_weight(module: Any) -> None:
    """One number of the middle matrix is off by a tenth of the matrix's largest."""
    found = matrices(module)
    middle = found[len(found) // 2]
    middle.view(-1)[0] += 0.1 * middle.abs().max()


def transposed(module: Any) -> None:
    """A square matrix is transposed."""
    square = next(m for m in matrices(module) if m.shape[0] == m.shape[1])
    square.copy_(square.T.clone())


def swapped(module: Any) -> None:
    """Two matrices of one shape change places."""
    one = next(m for m in matrices(module) if m.shape[0] == m.shape[1])
    other = [m for m in matrices(module) if m.shape == one.shape][-1]
    held = one.clone()
    one.copy_(other)
    other.copy_(held)


def norms(module: Any) -> list[Any]:
    """The normalising layers."""
    return [part for part in module.modules() if "Norm" in type(part).__name__]


def another_epsilon(module: Any) -> None:
    """A normalising layer's epsilon is a hundredth."""
    for part in norms(module):
        name = "eps" if hasattr(part, "eps") else "variance_epsilon"
        setattr(part, name, 1e-2)


def plain_norms(module: Any) -> None:
    """The weights of normalising layers are left out."""
    for part in norms(module):
        part.weight.fill_(1.0)


def another_activation(module: Any) -> None:
    """SiLU in the place of each activation."""
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if re.search("GELU|ReLU", type(child).__name__):
                setattr(part, name, torch.nn.SiLU())


def in_bfloat16(module: Any) -> None:
    """All weights are rounded to bfloat16."""
    for parameter in module.parameters():
        parameter.copy_(parameter.bfloat16())


def another_seed(module: Any) -> None:
    """All weights are others of the same spread."""
    generator = torch.Generator().manual_seed(1)
    for parameter in matrices(module):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.std())


def cases_own_model(program: FaultyProgram) -> FaultyProgram:
    """The case's own model is changed, and computed with."""
    template = program.case._template  # type: ignore[attr-defined]
    with torch.no_grad():
        one_matrix(1.01)(template)
    program.module = program._forward = template
    return program


# --- Faults that remember ---------------------------------------------------------------------


def first_answer(program: FaultyProgram, outputs: Arrays) -> Arrays:
    """The outputs of the first inference, whenever the shapes are the same."""
    program.kept = program.kept or outputs
    alike = all(program.kept[n].shape == a.shape for n, a in outputs.items())
    return dict(program.kept) if alike else outputs


def answer_before(program: FaultyProgram, outputs: Arrays) -> Arrays:
    """The outputs of the inference before, where there was one."""
    before, program.kept = program.kept or outputs, outputs
    return dict(before)


def own_buffer(program: FaultyProgram, outputs: Arrays) -> Arrays:
    """Arrays that are written into again at each call."""
    program.kept = program.kept or {}
    for name, array in outputs.items():
        kept = program.kept.get(name)
        if kept is None or kept.shape != array.shape:
            program.kept[name] = array.copy()
        else:
            kept[...] = array
    return dict(program.kept)


def late_write(program: FaultyProgram, outputs: Arrays) -> Arrays:
    """The outputs of the inference before are cleared."""
    if program.kept:
        next(iter(program.kept.values()))[...] = 0
    program.kept = outputs
    return outputs


def from_call(number: int, change: Change) -> Call:
    """Right before that inference, and changed from it on."""

    def call(program: FaultyProgram, outputs: Arrays) -> Any:
        return each(change)(program, outputs) if program.calls >= number else outputs

    return call


def every(number: int, change: Change) -> Call:
    """Changed at each so-manieth inference."""

    def call(program: FaultyProgram, outputs: Arrays) -> Any:
        return outputs if program.calls % number else each(change)(program, outputs)

    return call


def on_other_threads(change: Change) -> Call:
    """Changed where another number of threads computes than when the program was prepared."""

    def call(program: FaultyProgram, outputs: Arrays) -> Any:
        alike = torch.get_num_threads() == program.threads
        return outputs if alike else each(change)(program, outputs)

    return call


def drifting(program: FaultyProgram, outputs: Arrays) -> Any:
    """A little more off at each inference: state that is never reset."""
    return each(by(1 + 1e-6 * (program.calls - 1)))(program, outputs)


def noise(program: FaultyProgram, outputs: Arrays) -> Any:
    """Other noise at each inference."""
    random = np.random.default_rng(program.calls)
    return {
        n: a + (1e-3 * random.standard_normal(a.shape)).astype(a.dtype) for n, a in outputs.items()
    }


def wrong_when_repeated(program: FaultyProgram, outputs: Arrays) -> Any:
    """Wrong on inputs that were given before: a cache of answers that went stale."""
    seen = program.kept = program.kept or set()
    key = b"".join(array.tobytes() for array in program.given.values())
    again = key in seen
    seen.add(key)
    return each(by(1.01))(program, outputs) if again else outputs


# --- Inputs -----------------------------------------------------------------------------------


def as_given(program: Any, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The inputs."""
    return inputs


def zeroed(program: Any, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Zeros are written over the inputs, past numpy's flag, as `torch.from_numpy` can."""
    held = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        ctypes.memset(array.ctypes.data, 0, array.nbytes)
    return held


def sorted_in_place(program: Any, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """An input is sorted in place, by numpy."""
    next(iter(inputs.values())).sort()
    return inputs


def incremented_late(program: FaultyProgram, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """An input is changed in place, from the fourth inference on."""
    held = {name: array.copy() for name, array in inputs.items()}
    if program.calls > 3:
        array = next(iter(inputs.values()))
        array.flags.writeable = True
        array += 1
    return held


def masks(change: Change) -> Callable[[Any, Mapping[str, Array]], Mapping[str, Array]]:
    """The mask of the text, changed."""
    return lambda _, inputs: {**inputs, MASK: change(inputs[MASK])}


def first_row(program: Any, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Every row of the batch is computed as the first one."""
    return {n: np.repeat(a[:1], len(a), axis=0) for n, a in inputs.items()}


def first_batch(program: FaultyProgram, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Another batch than the first one is refused."""
    sizes = {name: array.shape for name, array in inputs.items()}
    program.kept = program.kept or sizes
    if sizes != program.kept:
        raise ValueError(f"expected inputs of shape {program.kept}")
    return inputs


def baked_input(program: FaultyProgram, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The last input keeps the values that it had at first."""
    name = list(inputs)[-1]
    if program.kept is None:
        program.kept = inputs[name].copy()
    alike = program.kept.shape == inputs[name].shape
    return {**inputs, name: program.kept} if alike else inputs


# --- Other things than an inference -----------------------------------------------------------


def always(request: GenerationRequest) -> bool:
    """Every text."""
    return True


def unmasked(request: GenerationRequest) -> GenerationRequest:
    """The same text without a mask of padding."""
    mask = {MASK: np.ones_like(request.inputs[MASK])}
    return replace(request, inputs={**request.inputs, **mask})


def in_way(name: str) -> str:
    """The pattern of a reason that names one way of using a cache, and no other."""
    return f"fail at generate: generate, {name}: logits: relative error(?!.*generate, )"


def tokens(change: Change) -> Call:
    """Generated tokens, changed; their logits are not told."""
    return lambda _, made: Generated(change(made.sequences))


def logits(change: Change) -> Call:
    """Logits of the generated tokens, changed."""
    return lambda _, made: replace(made, logits=change(made.logits))


def instead(action: Callable[[], object]) -> Call:
    """Something else happens first."""

    def call(program: Any, outputs: Any) -> Any:
        action()
        return outputs

    return call


def raising(error: BaseException) -> Callable[..., Any]:
    """An exception is raised."""

    def call(*_: Any) -> Any:
        raise error

    return call


class Unprintable(Exception):
    """An exception that has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


class OwnBase(BaseException):
    """An exception that `except Exception` lets through."""


def hang() -> None:
    """For ever."""
    while True:
        time.sleep(0.01)


def hang_in_c() -> None:
    """For ever, and no other thread of Python runs."""
    ctypes.PyDLL(None).sleep(1_000_000)


def recurse() -> None:
    """For ever deeper."""
    recurse()


def overflow() -> None:
    """Deeper than the stack of C is."""
    sys.setrecursionlimit(10**9)
    found: Any = None
    for _ in range(10**6):
        found = [found]
    repr(found)


def leak(megabytes: float) -> Call:
    """So much memory stays behind at each inference."""
    held: list[Array] = []

    def call(program: Any, outputs: Any) -> Any:
        held.append(np.ones(int(megabytes * 1e6 / 8)))
        return outputs

    return call


def print_into_the_pipe() -> None:
    """As a library does that prints to a descriptor that it takes for its own."""
    os.write(int(os.environ["HARNESS_RESULT_FD"]), b"rubbish from a C library\n")


def print_much() -> None:
    """As a library does that was left in debugging mode."""
    print("\x1b[31m::error::\x00 debug " * 100)
    os.write(2, b"written by C code\n" * 100)


def replace_norm() -> None:
    """Every error is zero."""
    np.linalg.norm = lambda *_, **__: 0.0  # type: ignore[assignment]


def replace_judge() -> None:
    """Nothing is wrong."""
    numerics.is_wrong = lambda *_, **__: False


# --- The table --------------------------------------------------------------------------------


def everything() -> Any:
    """All of it ran on the device."""
    return Placement(1.0, "said so")


def share(value: Any, fallen: Any = None) -> Callable[[], Any]:
    """So much of it ran on the device."""
    return lambda: Placement(value, "said so", {} if fallen is None else fallen)


def as_it_is(program: Any) -> Any:
    """The program."""
    return program


def without_placement(program: FaultyProgram) -> Any:
    """A function."""
    return program.__call__


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to be wrong.

    Attributes:
        about: what the backend does, in words.
        named: what the outcome and the reason of the cell have to say: a pattern.
        call: what the backend makes of the right outputs.
        fed: what it feeds the model.
        prepared: what it makes of the right program.
        placed: what it says of the placement.
        where: which way to the model is wrong.
        dtype: of the precision.
        damage: to the cache before each step of `generate()`, of `harness.models.damaged_cache`.
        when: the texts that are generated so.
        asked: the text that is generated in the place of another.
        told: how many tokens a pipeline generates, whatever the model says.
        needs: the input that a model must have.
        bare: the pipeline's answer is returned without the arrays behind it.
        patience: a share of the limit on time that is enough.
        harmless: nothing is wrong, and the cell must pass.
    """

    about: str
    named: str
    call: Call = right
    fed: Callable[[Any, Mapping[str, Array]], Mapping[str, Array]] = as_given
    prepared: Callable[[Any], Any] = as_it_is
    placed: Callable[[], Any] = everything
    where: Where = Where.PROGRAM
    dtype: str = "float32"
    damage: str = ""
    when: Callable[[GenerationRequest], bool] = always
    asked: Callable[[GenerationRequest], GenerationRequest] = as_it_is
    told: int = 0
    needs: str = ""
    bare: bool = False
    patience: float = 1.0
    harmless: bool = False


RELATIVE = "fail at verify: .*relative error"
SHAPE = "fail at verify: .*expected shape"
NAMES = "fail at verify: .*outputs: expected"
OUTPUTS = "fail at run: .*contract: outputs: "
DTYPE = "fail at run: .*contract: dtype: .*found "
PLACEMENT = "fail at verify: contract: placement: "
WROTE = "fail at run: .*contract: wrote into its input"
MORE_TOKENS = "fail at pipeline: pipeline: expected max_new_tokens = 8"
ALIASED = "fail at run: .*contract: aliased outputs"
LATER = "fail at verify: nondeterminism: inference"
LOGITS = "fail at generate: on input 'while generating': .*relative error"
CRASH = "crash at run: "

FAULTS: Mapping[str, Fault] = {
    "default": Fault("nothing: every check passes", "pass", harmless=True),
    "column-major": Fault("returns arrays in Fortran's order", "pass",
        each(np.asfortranarray), harmless=True),
    "read-only-outputs": Fault("returns arrays that can't be written", "pass",
        each(lambda a: np.broadcast_to(a, a.shape)), harmless=True),
    "prints": Fault("prints much, control characters too", "pass",
        instead(print_much), harmless=True),
    # Numbers
    "scaled": Fault("every output is larger by a thousandth", RELATIVE, each(by(1.001))),
    "scaled-slightly": Fault("every output is larger by 1 in 10,000", RELATIVE, each(by(1.0001))),
    "negated": Fault("every output has the other sign", RELATIVE, each(by(-1.0))),
    "shifted": Fault("every output is larger by 0.001", RELATIVE,
        each(lambda a: a + np.float32(1e-3))),
    "clipped": Fault("no output is above 1", RELATIVE, each(lambda a: np.minimum(a, 1))),
    "decimals": Fault("outputs have three decimals", RELATIVE, each(lambda a: a.round(3))),
    "half": Fault("rounds outputs to float16, float32 was promised", RELATIVE,
        each(through("float16"))),
    "one-value": Fault("one value of each output is 0", RELATIVE, each(one_value(0.0))),
    "one-row": Fault("the last row of the batch is off by 1 %", RELATIVE,
        each(one_place(-1, 1.01))),
    "one-channel": Fault("one channel is off by 1 %", RELATIVE,
        each(one_place((..., 3), 1.01))),
    "last-position": Fault("the last token or patch is off by 1 %", RELATIVE,
        first(one_place((slice(None), -1), 1.01))),
    "nan": Fault("one value of each output is NaN", "fail at verify: .*not finite",
        each(one_value(float("nan")))),
    "infinite": Fault("one value of each output is infinite", "fail at verify: .*not finite",
        each(one_value(float("inf")))),
    "constant": Fault("every output is 1 throughout", RELATIVE, each(np.ones_like)),
    "zeros": Fault("every output is 0 throughout", RELATIVE, each(np.zeros_like)),
    "uninitialised": Fault("an output is never written", "fail at verify: ",
        each(lambda a: np.full_like(a, 1e38))),
    # Weights and arithmetic
    "weight-off": Fault("one matrix is off by 1 in 10,000", RELATIVE,
        prepared=weights(one_matrix(1.0001))),
    "one-number": Fault("one number of one matrix is off", RELATIVE, prepared=weights(one_weight)),
    "weight-missing": Fault("one matrix is 0", RELATIVE, prepared=weights(one_matrix(0.0))),
    "weight-transposed": Fault("a square matrix is transposed", RELATIVE,
        prepared=weights(transposed)),
    "weights-swapped": Fault("two matrices change places", RELATIVE, prepared=weights(swapped)),
    "weights-others": Fault("weights are others of the same spread", RELATIVE,
        prepared=weights(another_seed)),
    "int8-weights": Fault("weights have 8 bits, float32 was promised", RELATIVE,
        prepared=weights(lambda module: quantize(module, "int8"))),
    "bfloat16": Fault("weights are bfloat16, float32 was promised", RELATIVE,
        prepared=weights(in_bfloat16)),
    "norm-epsilon": Fault("epsilon of the normalising layers is 0.01", RELATIVE,
        prepared=weights(another_epsilon)),
    "norm-weights": Fault("weights of the normalising layers are left out", RELATIVE,
        prepared=weights(plain_norms)),
    "activation": Fault("SiLU in the place of the activation", RELATIVE,
        prepared=weights(another_activation)),
    "model-changed": Fault("changes the case's own model and computes with it", RELATIVE,
        prepared=cases_own_model),
    # Axes and shapes
    "rows-swapped": Fault("the rows of the batch change places", RELATIVE,
        each(lambda a: a[::-1].copy())),
    "first-row": Fault("computes the first row for all of the batch", RELATIVE, fed=first_row),
    "channels-reversed": Fault("channels stand the other way round", RELATIVE,
        each(lambda a: a[..., ::-1].copy())),
    "rolled": Fault("tokens or patches are off by one place", RELATIVE,
        each(lambda a: np.roll(a, 1, axis=1))),
    "axes-swapped": Fault("the last two axes change places", SHAPE,
        first(lambda a: a.swapaxes(-1, -2).copy())),
    "flat": Fault("outputs have one axis", SHAPE, each(lambda a: a.reshape(-1))),
    "axis-added": Fault("outputs have an axis more", SHAPE, each(lambda a: a[None])),
    "row-missing": Fault("the last row of the batch is missing", SHAPE, each(lambda a: a[:-1])),
    "length-cut": Fault("the last token or patch is missing", SHAPE, first(lambda a: a[:, :-1])),
    "channel-padded": Fault("outputs are padded with zeros", SHAPE,
        each(lambda a: np.concatenate([a, 0 * a[..., :1]], axis=-1))),
    "empty": Fault("outputs are empty", SHAPE, each(lambda a: a[:0])),
    # Names
    "output-missing": Fault("the last output is missing", NAMES,
        lambda _, o: dict(list(o.items())[:-1])),
    "output-extra": Fault("an output is returned that the model lacks", NAMES,
        lambda _, o: {**o, "logits": next(iter(o.values()))}),
    "outputs-renamed": Fault("outputs have other names", NAMES,
        lambda _, o: {f"output_{i}": a for i, a in enumerate(o.values())}),
    "no-outputs": Fault("there is no output", NAMES, lambda _, o: {}),
    # Types
    "tensors": Fault("returns tensors of PyTorch", OUTPUTS + ".*found torch.Tensor",
        each(torch.from_numpy)),
    "tuple": Fault("returns a tuple", OUTPUTS + ".*found tuple", lambda _, o: tuple(o.values())),
    "returns-none": Fault("returns None", OUTPUTS + ".*found None", lambda _, o: None),
    "array": Fault("returns one array", OUTPUTS + ".*found numpy.ndarray",
        lambda _, o: next(iter(o.values()))),
    "lists": Fault("returns lists", OUTPUTS + ".*found list", each(lambda a: a.tolist())),
    "scalars": Fault("returns numbers", OUTPUTS + ".*found numpy.float32",
        each(lambda a: a.flat[0])),
    "by-number": Fault("returns outputs by number", OUTPUTS + ".*found a key that is int",
        lambda _, o: dict(enumerate(o.values()))),
    "objects": Fault("returns arrays of objects", OUTPUTS + ".*found dtype object",
        each(lambda a: a.astype(object))),
    "complex": Fault("returns complex numbers", OUTPUTS + ".*found dtype complex64",
        each(lambda a: a.astype(np.complex64))),
    "float64": Fault("returns float64, float32 was promised", DTYPE + "float64",
        each(lambda a: a.astype(np.float64))),
    "float16": Fault("returns float16, float32 was promised", DTYPE + "float16",
        each(lambda a: a.astype(np.float16))),
    "integers": Fault("returns integers, float32 was promised", DTYPE + "int32",
        each(lambda a: a.astype(np.int32))),
    # Inputs
    "writes-inputs": Fault("leaves zeros in its inputs", WROTE, fed=zeroed),
    "sorts-inputs": Fault("sorts an input in place", WROTE, fed=sorted_in_place),
    "writes-later": Fault("changes an input from the fourth inference on", WROTE,
        fed=incremented_late),
    "input-baked": Fault("one input keeps its first values", RELATIVE, fed=baked_input),
    "mask-ignored": Fault("takes padding for text", RELATIVE, fed=masks(np.ones_like), needs=MASK),
    "mask-right-only": Fault("takes the padding to stand on the right", RELATIVE,
        fed=masks(lambda a: np.sort(a, axis=1)[:, ::-1].copy()), needs=MASK),
    "batch-fixed": Fault("raises on another batch and length",
        "fail at run: on input 'reshaped': ValueError", fed=first_batch),
    # State
    "first-answer": Fault("answers every inference as the first one", RELATIVE, first_answer),
    "answer-before": Fault("answers as the inference before",
        "fail at verify: .*(relative error|expected shape)", answer_before),
    "own-buffer": Fault("returns its own buffer again at each call", ALIASED, own_buffer),
    "late-write": Fault("clears the outputs of the inference before", ALIASED, late_write),
    "wrong-later": Fault("is right ten times, then wrong", LATER, from_call(11, by(2.0))),
    "nan-later": Fault("is right ten times, then NaN", LATER, from_call(11, by(float("nan")))),
    "wrong-when-repeated": Fault("is wrong on inputs that it saw before", LATER,
        wrong_when_repeated),
    "sometimes": Fault("is off by 1 in 1,000,000 at each fifth inference",
        "(fail at verify: |nondeterministic: )", every(5, by(1 + 1e-6))),
    "threads": Fault("is off by a thousandth on another number of threads",
        "fail at verify: threads: on [12] of them", on_other_threads(by(1.001))),
    "threads-rounding": Fault("is off by 1 in 500,000 on another number of threads",
        "not the same on other threads|threads: on", on_other_threads(by(1 + 2e-6))),
    "drifts": Fault("is more and more off", "fail at verify: .*relative error", drifting),
    "random": Fault("other noise at each inference", RELATIVE, noise),
    # Placement
    "half-elsewhere": Fault("half of the work ran on another device",
        "fail at verify: placement: .*50.0%", placed=share(0.5, {"MatMul": 2})),
    "all-elsewhere": Fault("all of the work ran on another device",
        "fail at verify: placement: .*0.0%", placed=share(0.0)),
    "one-elsewhere": Fault("one operator of a hundred ran on another device",
        "fail at verify: placement: .*Cos x1", placed=share(0.99, {"Cos": 1})),
    "share-nan": Fault("says that a share of NaN ran on the device", PLACEMENT + ".*found nan",
        placed=share(float("nan"))),
    "share-two": Fault("says that 200 % ran on the device", PLACEMENT + ".*found 2.0",
        placed=share(2.0)),
    "share-text": Fault("says `all` ran on the device", PLACEMENT + ".*found str",
        placed=share("all")),
    "placement-none": Fault("says nothing of the placement", PLACEMENT + ".*found None",
        placed=lambda: None),
    "placement-raises": Fault("raises when asked for the placement",
        "fail at verify: RuntimeError: no profiler", placed=raising(RuntimeError("no profiler"))),
    "placement-missing": Fault("has no placement", "fail at prepare: contract: program: ",
        prepared=without_placement),
    # Prepare
    "prepare-none": Fault("prepares nothing", "fail at prepare: contract: program: .*found None",
        prepared=lambda _: None),
    "prepare-raises": Fault("can't convert", "fail at prepare: KeyError: .*aten::frobnicate",
        prepared=raising(KeyError("aten::frobnicate"))),
    "refuses": Fault("says that it can't", "unsupported at prepare: no translation",
        prepared=raising(Unsupported("no translation for aten::frobnicate"))),
    "dtype-unknown": Fault("promises a dtype that nobody knows",
        "fail at build: contract: precision: .*'fp8_e4m3'.*float8_e4m3fn", dtype="fp8_e4m3"),
    # Other ways
    "pipeline-wrong": Fault("only `pipeline()` is wrong, by a thousandth",
        "fail at pipeline: .*relative error", each(by(1.001)), where=Where.PIPELINE),
    "pipeline-bare": Fault("`pipeline()` returns outputs alone",
        "fail at pipeline: contract: pipeline: .*found dict", where=Where.PIPELINE, bare=True),
    "pipeline-ignores-settings": Fault("`pipeline()` makes 20 tokens, whatever the model says",
        MORE_TOKENS + ".*found 20 new tokens", where=Where.WRITTEN, told=20),
    "pipeline-never-ends": Fault("`pipeline()` goes on until the model has no place left",
        MORE_TOKENS + ".*found IndexError after", where=Where.WRITTEN, told=100_000),
    "load-wrong": Fault("only `from_pretrained()` is wrong, by one weight",
        "fail at roundtrip: .*relative error", prepared=weights(one_weight), where=Where.LOADED),
    "load-none": Fault("`from_pretrained()` returns None",
        "fail at roundtrip: contract: program: .*found None", prepared=lambda _: None,
        where=Where.LOADED),
    # The harness's own arithmetic
    "numpy-replaced": Fault("replaces `numpy.linalg.norm`",
        "fail at verify: contract: numpy: .*numpy.linalg.norm replaced", instead(replace_norm)),
    "judge-replaced": Fault("replaces the harness's own check",
        "fail at verify: control: .*a check that cannot fail", instead(replace_judge)),
    # Memory
    "leaks": Fault("leaves 64 MB behind at each inference",
        "fail at verify: memory: .*found 64 MB", leak(64)),
    "leaks-a-little": Fault("leaves 3 MB behind at each inference", "leaks: .*grows by 3.0 MB",
        leak(3)),
    "allocates": Fault("asks for 400 GB", "oom at run: ",
        instead(lambda: np.ones(50_000_000_000))),
    # Processes
    "raises": Fault("raises", "fail at run: RuntimeError: device lost",
        raising(RuntimeError("device lost"))),
    "raises-unprintable": Fault("raises an exception without a text", "at run: .*Unprintable",
        raising(Unprintable())),
    "raises-base": Fault("raises what `except Exception` lets through", "at run: .*OwnBase",
        raising(OwnBase("gone"))),
    "interrupts": Fault("raises KeyboardInterrupt", CRASH + ".*KeyboardInterrupt",
        raising(KeyboardInterrupt())),
    "recurses": Fault("recurses for ever", "fail at run: RecursionError", instead(recurse)),
    "overflows": Fault("overflows the stack of C", CRASH + ".*SIGSEGV", instead(overflow)),
    "segfault": Fault("reads address 0", CRASH + ".*SIGSEGV",
        instead(lambda: ctypes.string_at(0))),
    "abort": Fault("a library calls abort()", CRASH + ".*SIGABRT", instead(os.abort)),
    "exits": Fault("a library calls sys.exit()", CRASH + ".*sys.exit",
        instead(lambda: sys.exit("goodbye"))),
    "leaves": Fault("a library calls _exit(0)", CRASH + ".*exit", instead(lambda: os._exit(0))),
    "killed": Fault("the kernel kills the process", CRASH + ".*SIGKILL",
        instead(lambda: os.kill(os.getpid(), signal.SIGKILL))),
    "hangs": Fault("an inference never ends", "timeout at run: ", instead(hang), patience=0.3),
    "hangs-in-c": Fault("an inference never ends, and holds the interpreter", "timeout at run: ",
        instead(hang_in_c), patience=0.3),
    "pipe-broken": Fault("a library writes into the pipe of results", CRASH + ".*unreadable",
        instead(print_into_the_pipe)),
    # Generation
    "token-wrong": Fault("`generate()` ends in another token", "fail at generate: generate: token",
        tokens(lambda ids: np.concatenate([ids[:, :-1], ids[:, -1:] ^ 1], 1)),
        where=Where.GENERATED),
    "token-unknown": Fault("`generate()` ends in a token that there is not",
        "fail at generate: generate: expected token ids from 0 to .*found 1000000",
        tokens(lambda ids: np.concatenate([ids[:, :-1], 0 * ids[:, -1:] + 10**6], 1)),
        where=Where.GENERATED),
    "token-missing": Fault("`generate()` returns less than it was given",
        "fail at generate: generate: expected .* more after them",
        tokens(lambda ids: ids[:, :0]), where=Where.GENERATED),
    "token-floats": Fault("`generate()` returns floats",
        "fail at generate: contract: generate: .*float32",
        tokens(lambda ids: ids.astype(np.float32)), where=Where.GENERATED),
    "tokens-bare": Fault("`generate()` returns token ids alone",
        "fail at generate: contract: generate: .*expected a harness.contract.Generated",
        lambda _, made: made.sequences, where=Where.GENERATED),
    "logits-late": Fault("`generate()` returns the logits of the step before", LOGITS,
        logits(lambda steps: np.roll(steps, 1, axis=1)), where=Where.GENERATED),
    "logits-off": Fault("`generate()` returns logits that are larger by a thousandth", LOGITS,
        logits(by(1.001)), where=Where.GENERATED),
    "logits-missing": Fault("`generate()` returns the logits of all steps but the last",
        "fail at generate: contract: generate: .*expected logits of shape",
        logits(lambda steps: steps[:, :-1]), where=Where.GENERATED),
    "cache-zeroed": Fault("the cache forgets the tokens before", LOGITS,
        damage="zeroed", where=Where.GENERATED),
    "cache-shifted": Fault("the cache holds each token one place later", LOGITS,
        damage="shifted", where=Where.GENERATED),
    "cache-of-another-row": Fault("the cache holds another row's tokens", LOGITS,
        damage="of another row", where=Where.GENERATED),
    "static-cache-shifted": Fault("a static cache holds each token one place later",
        in_way("static cache"), damage="shifted", where=Where.GENERATED,
        when=lambda r: r.settings.get("cache_implementation") == "static"),
    "beams-not-reordered": Fault("beams keep their caches when they change places",
        in_way("beams"), damage="of another row", where=Where.GENERATED,
        when=lambda r: "num_beams" in r.settings),
    "continuation-forgets": Fault("several tokens after a prompt forget it",
        in_way("continuation"), damage="zeroed", where=Where.GENERATED,
        when=lambda r: r.follow is not None and r.tokens > 0),
    "forward-forgets": Fault("one call of forward with a kept cache forgets it",
        in_way("continuation by forward"), damage="zeroed", where=Where.GENERATED,
        when=lambda r: r.follow is not None and not r.tokens),
    "lookup-shifted": Fault("drafted tokens leave the cache one place off",
        in_way("prompt lookup"), damage="shifted", where=Where.GENERATED,
        when=lambda r: "prompt_lookup_num_tokens" in r.settings),
    "padding-generated": Fault("`generate()` takes padding on the left for text",
        in_way("left-padded"), asked=unmasked, where=Where.GENERATED),
    "way-raises": Fault("`generate()` raises with beams",
        "fail at generate: generate, beams: KeyError", where=Where.GENERATED,
        asked=raising(KeyError("layers")), when=lambda r: "num_beams" in r.settings),
}  # fmt: skip
