"""Points of the contract about inferences that must leave each other, and the harness, alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.cell import border
from harness.cell.conformance.finding import UncheckedError
from harness.cell.conformance.subject import Subject
from harness.cell.judgement import judge_repeats
from harness.cell.reference import noise_floor, noisy_inference
from harness.cell.repeats import LATE, NOTED_MB, WARM_UP, Repeats, repeat
from harness.contract import Array, Arrays, BrokenContract, CheckFailed, Stage
from harness.toolkit import fingerprints, numerics


def read_only(subject: Subject) -> str:
    """Inputs are read, never written."""
    program = subject.program
    plain = {variant: subject.inputs(variant) for variant in ("base", "other")}
    with subject.at(Stage.RUN):
        for variant in ("base", "other", "base", "other", "base"):
            program(plain[variant])
    return "5 inferences leave their inputs as they are"


def layout(subject: Subject) -> str:
    """Inputs in any memory layout give the same answer: Fortran order, and strides with gaps."""
    base, first = subject.base, subject.first
    prepared = subject.prepared
    for name, relaid in (("Fortran order", _fortran), ("strides with gaps", _gapped)):
        given = {n: relaid(array) for n, array in base.items()}
        got = border.arrays(prepared(given), "outputs")
        subject.hold(f"base, its arrays in {name}", _copies(got), first, base)
    return "the same in Fortran order, and with strides"


def aliased(subject: Subject) -> str:
    """Outputs are arrays that no later inference writes into."""
    subject.first  # noqa: B018
    for variant in ("other", "base", "other"):
        subject.program(subject.inputs(variant))
    return "4 inferences leave the outputs before them as they are"


def stateless(subject: Subject) -> str:
    """An answer does not depend on the inferences before it."""
    first, base, other = subject.first, subject.base, subject.inputs("other")
    after = subject.program(other)
    subject.hold("base, again after 'other'", subject.program(base), first, base)
    fresh = subject.checked(subject.prepare(subject.case))
    subject.hold("other, as the first inference of a program", fresh(other), after, other)
    return "the same answer before and after another input"


def deterministic(subject: Subject) -> str:
    """The same input has the same answer again and again."""
    found = repeat(subject.program, subject.base, subject.first, 1)
    judge_repeats(found, subject.first, subject.reference, subject.progress)
    count = len(found.seconds) + 1
    if not found.apart:
        return f"{count} inferences agree to the last bit"
    return f"{count} inferences differ by {found.apart:.2g} at most"


def apart(subject: Subject) -> str:
    """Two programs of one architecture with other weights leave each other alone."""
    first, base, case = subject.first, subject.base, subject.other_case
    with subject.at(Stage.REFERENCE):
        dtype = subject.reference.dtype
        want = case.reference(base, dtype)
        noisy = noisy_inference(case, dtype, subject.precision)(base)
        floor = noise_floor(numerics.difference(noisy, want), subject.precision)
    got = subject.checked(subject.prepare(case))(base)
    found = numerics.difference(got, want)
    if numerics.is_wrong(found, floor, max(subject.reference.mismatch, numerics.MISMATCHED)):
        raise CheckFailed(
            f"two programs: the second one, of other weights: {numerics.explain(found, floor)}"
        )
    subject.hold("base, after another program was made", subject.program(base), first, base)
    return "two programs with other weights give their own answers"


def case_untouched(subject: Subject) -> str:
    """The case's own model and inputs are as they were, once it was prepared and run."""
    dtype = subject.reference.dtype
    case, base = subject.case, {n: np.array(a) for n, a in subject.base.items()}
    before = case.reference(base, dtype)
    subject.first  # noqa: B018
    for name, array in case.inputs("base").items():
        if not border.identical(array, base[name]):
            raise BrokenContract("case", "its inputs as they were", f"that {name} changed")
    found = numerics.difference(case.reference(base, dtype), before)
    if numerics.is_wrong(found, subject.reference.floor, subject.reference.mismatch):
        raise BrokenContract(
            "case",
            "its model as it was: module() makes one to keep",
            numerics.explain(found, subject.reference.floor),
        )
    return "the case's own model and inputs are as they were"


def growth(subject: Subject) -> str:
    """The process does not grow with each inference."""
    found = repeat(subject.program, subject.base, subject.first, 1)
    if len(found.growths) < WARM_UP + LATE and not found.leaks_gravely:
        raise UncheckedError(f"{len(found.growths)} inferences are too few to tell")
    if found.growth_mb > NOTED_MB:
        raise CheckFailed(
            f"memory: expected the process to grow by at most {NOTED_MB:g} MB with each inference, "
            f"found {found.growth_mb:.1f} MB"
        )
    return f"{_shown_growth(found)} with each of the last {LATE} inferences"


def recovers(subject: Subject) -> str:
    """Inputs that are none raise an Exception, and the next inference is right again."""
    first, base = subject.first, subject.base
    said = ""
    try:
        border.arrays(subject.prepared({}), "outputs")
    except Exception as error:
        said = f"{type(error).__name__}: {fingerprints.text_of(error)}"
    else:
        raise BrokenContract("inputs", "an Exception for no inputs at all", "outputs")
    for given in _spoilt(base):
        try:
            subject.prepared(given)
        except Exception:  # it may be refused, and may be not
            continue
    subject.hold("base, after inputs that are none", subject.program(base), first, base)
    return f"no inputs: {fingerprints.telling_line(said)}"


def numpy_untouched(subject: Subject) -> str:
    """The functions of numpy are as they were: the harness computes with them."""
    subject.first  # noqa: B018
    border.unpatched(subject.numpy_before)
    return "numpy's functions are as they were"


def _spoilt(base: Mapping[str, Array]) -> list[Arrays]:
    """Inputs that are none: one without its last axis, one of a name that nobody has."""
    flat = {n: border.read_only(a[..., 0] if a.ndim else a) for n, a in base.items()}
    return [flat, {"no_such_input": border.read_only(np.zeros((2, 2), np.float32))}]


def _fortran(array: Array) -> Array:
    made = np.asfortranarray(array).copy(order="F")
    made.flags.writeable = False
    return made


def _gapped(array: Array) -> Array:
    """The same values, every second one of a larger array."""
    held = np.zeros((*array.shape[:-1], 2 * array.shape[-1]) if array.ndim else (), array.dtype)
    made = held[..., ::2] if array.ndim else held
    made[...] = array
    made.flags.writeable = False
    return made


def _copies(outputs: Arrays) -> Arrays:
    return {name: np.array(array) for name, array in outputs.items()}


def _shown_growth(found: Repeats) -> str:
    return f"{max(0.0, found.growth_mb):.2g} MB more"
