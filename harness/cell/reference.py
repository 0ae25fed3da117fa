"""Reference of a cell: float64 outputs on every input, and the noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from harness.catalog import checkpoints, exemptions
from harness.catalog.heads import known_heads
from harness.cell.progress import CellProgress
from harness.cell.request import Job
from harness.checks import (
    families,
    half_precision,
    long_text,
    negative_control,
    own_generate,
    sanity,
    ungiven,
    variants,
)
from harness.checks.known_answers.answer import NAME as KNOWN
from harness.checks.known_answers.answer import KnownAnswer
from harness.checks.known_answers.of_cell import known_answer
from harness.checks.variant import Variant, Variants
from harness.contract import (
    BASE,
    KNOWN_ANSWER,
    RESHAPED,
    Absent,
    Arrays,
    Case,
    CheckFailed,
    Inconclusive,
    LibraryFault,
    Precision,
    is_floating,
    label,
)
from harness.toolkit import numerics, signature

#: Dtypes in which some modeling code cannot run, because it makes tensors of float32.
HALVES = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference outputs of a model, their noise floor, and the negative control."""

    dtype: str  # of the reference itself
    precision: Precision  # that it is to judge
    noisy: families.Call  # an inference with no error but that precision's
    moved: families.Call  # one whose data moved by one rounding of that precision
    outputs_on: families.Call  # the reference on other inputs
    inputs: Mapping[str, Arrays]  # by variant or probe
    outputs: Mapping[str, Arrays]
    dtypes: Mapping[str, np.dtype[Any]]  # of the outputs of eager execution in that precision
    floor: float
    mismatch: float
    wrong: negative_control.WrongReference  # what the check must refuse
    further: Variants  # beyond the family's probes
    known: KnownAnswer | None = None  # a question that the reference answers right
    loop: families.Loop | None = None  # in which the family's models are used
    ended: Arrays = field(default_factory=dict)  # where that ends
    drift: float = 0.0  # the loop's own noise floor


def make_reference(
    case: Case,
    inputs: Mapping[str, Arrays],
    precision: Precision,
    job: Job,
    progress: CellProgress,
    *,
    dynamic: bool,
    any_arguments: bool,
) -> Reference:
    """The reference on every input, its noise floor, and the controls on the model itself.

    A fault that leaves the plain inputs' reference as it is (a padded row that gives something
    else, say) is kept with the cell, and hides no fault of the backend.
    """
    base = inputs["base"]
    want, dtype = first_reference(case, base)
    again = case.reference(base, dtype, seed=0 if case.seeded else 1)
    sanity.deterministic(want, again)
    sanity.sane(want, exemptions.exempt_outputs(job.cell.entry.architecture, job.cell.head))
    outputs = {"base": want, "other": case.reference(inputs["other"], dtype)}
    sanity.sensitive(want, outputs["other"])
    if dtype == "float64" and _asks_for_half(precision, job):
        with progress.kept():  # a fault in half precision hides nothing of another one
            half_precision.check(case, inputs, outputs)
    noisy = noisy_inference(case, dtype, precision)
    floor, mismatch = 0.0, 0.0
    dtypes: dict[str, np.dtype[Any]] = {}
    for name, right in outputs.items():
        eager = noisy(inputs[name])
        dtypes |= {output: array.dtype for output, array in eager.items()}
        noise = numerics.difference(eager, right)
        floor = max(floor, noise_floor(noise, precision))
        mismatch = max(mismatch, noise.mismatched)
    entry, given = job.cell.entry, dict(inputs)
    for probe in _probes(job, inputs):
        with progress.kept():
            asked = probe.ask(partial(case.reference, dtype=dtype), want)
            given[probe.name], outputs[probe.name] = asked.inputs, asked.outputs
            _judge_probe(probe, asked, entry.family)
    if _asks_for_long_text(job):
        with progress.kept():
            long_text.check(case, case.generation, causal="causal" in given)
    if job.asks_library and not _exempt(own_generate.NAME, job):
        with progress.kept():
            own_generate.check(case, base)
    if job.asks_library and not _exempt(ungiven.NAME, job):
        for fault in ungiven.faults(case, base, want, dtype):
            progress.keep(fault)
    known = None
    if job.checkpoints is not None and dynamic:
        with progress.kept():
            known = _known_answer(case, job)
            if known is not None:
                given[KNOWN], outputs[KNOWN] = known.inputs, case.reference(known.inputs, dtype)
                known = _answered(known, outputs[KNOWN], progress)
    if job.asks_code:
        further = variants.of(case, base, want, dtype, dynamic=dynamic, any_arguments=any_arguments)
    else:
        further = variants.of_shape(case, base, dtype, dynamic=dynamic)
    if further.padding_fault is not None:
        progress.keep(further.padding_fault)
    progress.keep_by_cause(further.failed)
    for variant in further.made:
        given[variant.name], outputs[variant.name] = variant.inputs, variant.outputs
    found = Reference(
        dtype,
        precision,
        noisy,
        lambda moved: case.jittered(moved, precision.dtype),
        lambda further: case.reference(further, dtype),
        given,
        outputs,
        dtypes,
        floor,
        mismatch,
        negative_control.wrong_reference(case, base, want, floor, dtype),
        further,
        known,
    )
    loop = families.loop(entry.family, base, inputs["other"], want)
    if loop is not None:
        ended = loop.reference(lambda x: case.reference(x, dtype))
        drift = noise_floor(numerics.difference(loop.run(noisy, base), ended), precision)
        found = replace(found, loop=loop, ended=ended, drift=drift)
    with progress.kept():
        _signature(case, base, want, dtype, job, further.get(RESHAPED))
    return found


def _probes(job: Job, inputs: Mapping[str, Arrays]) -> list[families.Probe]:
    """The further inputs of the cell's family."""
    if not job.asks_code:
        return []
    entry, head = job.cell.entry, job.cell.head
    return families.probes(entry.family, entry.architecture, inputs["base"], inputs["other"], head)


def _known_answer(case: Case, job: Job) -> KnownAnswer | None:
    """The cell's question with a known answer, where its checkpoint came from a folder."""
    name = job.cell.entry.checkpoint
    folder = checkpoints.find(job.checkpoints, name, job.revision) if job.checkpoints else None
    return None if folder is None else known_answer(case, folder)


def _answered(known: KnownAnswer, outputs: Arrays, progress: CellProgress) -> KnownAnswer | None:
    """The question, for the backend too; None, and a failure kept, where the reference is wrong."""
    right = known.answer(outputs)[1]
    progress.metric(KNOWN_ANSWER, float(right), "1")
    with progress.kept():
        known.check(outputs)
    return known if right else None


def _judge_probe(probe: families.Probe, asked: families.ProbeAnswer, family: str) -> None:
    """Hold the reference on a family's further input against the one on the plain inputs.

    Raises:
        LibraryFault: its claim on tokens is wrong, as that later ones change nothing before them.
        CheckFailed: another claim of it is wrong.
    """
    if asked.violation:
        check = f"{family} check {probe.name!r}"
        kind = LibraryFault if probe.of_tokens else CheckFailed
        raise kind(f"{check}: {asked.violation}", fault=check)


def _asks_for_half(precision: Precision, job: Job) -> bool:
    """Whether the cell looks at the modeling code's half precision.

    Where a floor in half precision is needed, and of headless models in the sessions that look for
    faults of the modeling code.
    """
    if _exempt(half_precision.NAME, job):
        return False
    return precision.dtype in HALVES or (job.asks_library and job.cell.head == BASE)


def _asks_for_long_text(job: Job) -> bool:
    """Whether the cell reads a long text: one with a generating head, or the headless one."""
    entry, head = job.cell.entry, job.cell.head
    if not job.asks_library or _exempt(long_text.NAME, job):
        return False
    generating = [task for task in entry.heads if known_heads()[task].generates]
    return head in generating or (head == BASE and not generating)


def _exempt(check: str, job: Job) -> bool:
    return check in exemptions.exempt_checks(job.cell.entry.architecture, job.cell.head)


def first_reference(case: Case, inputs: Arrays) -> tuple[Arrays, str]:
    """The reference on some inputs, and its dtype: float64, or float32 where that is refused."""
    try:
        want = case.reference(inputs, "float64")
        judged = numerics.comparable(want) or not any(is_floating(a) for a in want.values())
        if judged and not sanity.without_values(want):
            return want, "float64"
    except Absent:
        raise
    except Exception:  # dtypes written into the modeling code; float32 then says what is wrong
        pass
    return case.reference(inputs, "float32"), "float32"


def noisy_inference(case: Case, dtype: str, precision: Precision) -> families.Call:
    """An inference in the backend's dtype, or with weights moved where the reference has it too.

    They are moved too where PyTorch cannot run the model in 16 bits, because its code makes tensors
    of float32: other runtimes may.
    """
    if dtype != "float64" and precision.dtype.endswith("float32"):
        return lambda inputs: case.jittered(inputs, precision.dtype)

    def inference(inputs: Arrays) -> Arrays:
        try:
            return case.reference(inputs, precision.dtype)
        except RuntimeError:  # what PyTorch raises on operands of two dtypes
            if precision.dtype not in HALVES:
                raise
            return case.jittered(inputs, precision.dtype)

    return inference


def noise_floor(noisy: numerics.Difference, precision: Precision) -> float:
    """The noise floor in a precision, from the error that eager execution makes in its dtype.

    Raises:
        Inconclusive: eager execution overflows, or its error is so large that anything would pass.
    """
    if any("finite" in fault for fault in noisy.faults):
        raise Inconclusive(f"the model itself overflows in {precision.dtype}: {noisy.faults[0]}")
    floor = numerics.floor_of(noisy.error, precision.dtype)
    if floor > numerics.LARGEST_FLOOR:
        raise Inconclusive(
            f"noise floor {floor:.2g} in {precision.dtype}: an error of "
            f"{numerics.LIMIT * floor:.2g} would pass"
        )
    return floor


def _signature(
    case: Case,
    base: Arrays,
    want: Arrays,
    dtype: str,
    job: Job,
    reshaped: Variant | None,
) -> None:
    """Holds the model against its line of the snapshot, where the session asks for it."""
    if job.expected_signature is None:
        return
    found = describe(case, base, want, dtype, reshaped)
    if not job.expected_signature:
        raise CheckFailed(
            f"signature: expected a recorded one to hold '{found}' against, found none; "
            f"`python -m harness record {case.entry.name}` writes it down"
        )
    recorded = signature.parse(job.expected_signature)
    if found.like(recorded) != recorded:
        raise CheckFailed(
            f"signature: expected {job.expected_signature!r}, found '{found}'; if the change is "
            f"meant, `python -m harness record {case.entry.name}` writes it down"
        )


def describe(
    case: Case,
    base: Arrays,
    want: Arrays,
    dtype: str,
    reshaped: Variant | None = None,
    alike: Sequence[Arrays] = (),
) -> signature.Signature:
    """The signature of a case, its symbolic dimensions from a second batch and length.

    Args:
        case: the model.
        base: its plain inputs.
        want: the reference's outputs on them.
        dtype: of the reference.
        reshaped: the inputs of another batch and length, if they are made already.
        alike: outputs on inputs of the same shapes with other values, which show what of a shape
            follows from values.
    """
    inputs: Arrays | None
    outputs: Arrays | None
    try:
        inputs = reshaped.inputs if reshaped else case.inputs(RESHAPED)
        outputs = reshaped.outputs if reshaped else case.reference(inputs, dtype)
    except Exception:  # a model for one shape only: its line says numbers
        inputs = outputs = None
    return signature.Signature(
        label(case.entry.name, case.head),
        case.model_name,
        case.parameters(),
        signature.specs(base, inputs),
        signature.specs(want, outputs, alike),
    )
