"""Points of the contract about one inference: types, names, dtypes, numbers, shapes, placement."""

from __future__ import annotations

import numpy as np

from harness.cell import border
from harness.cell.conformance.finding import UncheckedError
from harness.cell.conformance.subject import Subject, shown_names
from harness.cell.judgement import ON_DEVICE
from harness.contract import (
    RESHAPED,
    Arrays,
    BrokenContract,
    CheckFailed,
    Stage,
    Unsupported,
    is_floating,
)
from harness.toolkit import numerics


def prepares(subject: Subject) -> str:
    """`prepare` returns a Program."""
    subject.program  # noqa: B018
    return border.type_name(subject.prepared)


def types(subject: Subject) -> str:
    """A program returns a dict of str to numpy arrays."""
    subject.program  # noqa: B018  (what cannot be called is another point's)
    prepared = subject.prepared
    given = {name: np.array(array) for name, array in subject.base.items()}
    with subject.at(Stage.RUN):
        found = border.arrays(prepared(given), "outputs")
    return f"{len(found)} numpy array{'s' if len(found) > 1 else ''} by name"


def names(subject: Subject) -> str:
    """The outputs have the names and the shapes of the model's own."""
    want, got = subject.reference.outputs["base"], subject.first
    if want.keys() != got.keys():
        raise BrokenContract(
            "names", f"outputs named {shown_names(list(want))}", shown_names(list(got))
        )
    for name, array in want.items():
        if array.shape != got[name].shape:
            raise BrokenContract("names", f"shape {array.shape}", f"{got[name].shape}", name)
    return shown_names(list(got))


def order(subject: Subject) -> str:
    """Each output has the values of its own name, and not another one's."""
    want, got = subject.reference.outputs["base"], subject.first
    floor, mismatch = subject.reference.floor, subject.reference.mismatch

    def alike(mine: str, its: str) -> bool:
        if mine not in got:
            return False
        found = numerics.difference({its: got[mine]}, {its: want[its]})
        return not numerics.is_wrong(found, floor, mismatch)

    for name in numerics.comparable(want):
        for other in got:
            if other != name and not alike(name, name) and alike(other, name):
                raise BrokenContract(
                    "order", f"the values of {name} under its own name", f"them under {other}"
                )
    if len(want) < 2:
        raise UncheckedError("the model has one output")
    return f"{len(want)} outputs"


def dtypes(subject: Subject) -> str:
    """Floating outputs are float32 or of the precision's dtype; others are integers or booleans."""
    program = subject.checked(subject.prepared, subject.reference.dtypes)
    subject.first  # noqa: B018  (what fails without a look at dtypes is another point's)
    found = program(subject.base)
    return shown_names(sorted({array.dtype.name for array in found.values()}))


def finite(subject: Subject) -> str:
    """The outputs are finite wherever the model's own are."""
    want = subject.reference.outputs["base"]
    for name, array in subject.first.items():
        right = want.get(name)
        if right is None or right.shape != array.shape or not is_floating(array):
            continue
        broken = int(np.count_nonzero(np.isfinite(right) & ~np.isfinite(array)))
        if broken:
            raise CheckFailed(f"{name}: {broken} of {array.size} values are not finite")
    return "wherever the model's own outputs are"


def numbers(subject: Subject) -> str:
    """The numbers lie within the limit on two examples, by the model's own noise floor."""
    worst = 0.0
    reference = subject.reference
    for variant, got in (("base", subject.first), ("other", _answer(subject, "other"))):
        want, given = reference.outputs[variant], reference.inputs[variant]
        worst = max(worst, subject.hold(variant, got, want, given))
    return f"score {worst:.2g}, at most {numerics.LIMIT:g} passes"


def shapes(subject: Subject) -> str:
    """A program takes another batch and length, unless the backend says `dynamic = False`."""
    if not subject.dynamic:
        raise UncheckedError("the backend says dynamic = False")
    try:
        given = subject.inputs(RESHAPED)
        want = subject.case.reference(given, subject.reference.dtype)
    except (Unsupported, ValueError) as error:
        raise UncheckedError(f"the model takes one shape: {error}") from error
    subject.first  # noqa: B018  (the program is compiled for these shapes)
    try:
        got = subject.program(given)
    except BrokenContract:
        raise
    except Exception as error:
        raise BrokenContract(
            "dynamic",
            "a program that takes another batch and length, or `dynamic = False` on the backend",
            f"{type(error).__name__}: {error}",
        ) from error
    return f"score {subject.hold(RESHAPED, got, want, given):.2g} on another batch and length"


def placement(subject: Subject) -> str:
    """`placement` returns a share from 0 to 1, its evidence, and what ran elsewhere."""
    subject.first  # noqa: B018  (placement is asked for after an inference)
    found = subject.program.placement()
    if not found.evidence.strip() or "\n" in found.evidence:
        raise BrokenContract("placement", "evidence in one line", f"{found.evidence!r:.40}")
    elsewhere = sum(found.fallback_ops.values())
    if found.device_share < ON_DEVICE and not elsewhere:
        raise BrokenContract(
            "placement",
            "fallback_ops with the operators that ran elsewhere",
            f"none of them at a share of {found.device_share:.1%}",
        )
    if found.device_share >= 1.0 and elsewhere:
        raise BrokenContract(
            "placement",
            "a share below 1 where operators ran elsewhere",
            f"{elsewhere} of them at a share of {found.device_share:.1%}",
        )
    return f"{found.device_share:.1%} on the device ({found.evidence})"


def _answer(subject: Subject, variant: str) -> Arrays:
    subject.first  # noqa: B018
    return subject.program(subject.reference.inputs[variant])
