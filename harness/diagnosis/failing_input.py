"""Failing input: the first of a cell's inputs on which the whole model fails, and how."""

from __future__ import annotations

from collections.abc import Mapping

from harness.cell import border
from harness.cell.border import CheckedProgram
from harness.cell.judgement import ON_DEVICE, with_own_floor
from harness.cell.progress import CellProgress
from harness.cell.reference import Reference, make_reference
from harness.cell.request import Job
from harness.checks import families, padded_outputs
from harness.contract import (
    Arrays,
    Backend,
    Case,
    CellResult,
    HarnessError,
    Outcome,
    Precision,
    Stage,
)
from harness.diagnosis.trial import Trial, TrialKind, raised
from harness.toolkit import numerics, printable
from harness.toolkit.close_matches import did_you_mean


def references(job: Job, backend: Backend, case: Case, precision: Precision) -> Reference:
    """The reference of the whole model on every input that its cell has.

    Raises:
        What a cell raises at `inputs` and `reference`.
    """
    cell = job.cell
    entry = cell.entry
    result = CellResult(
        entry.name,
        entry.family,
        entry.architecture,
        cell.head,
        cell.precision,
        Stage.REFERENCE,
        Outcome.PASS,
    )
    inputs = {name: case.inputs(name) for name in ("base", "other")}
    return make_reference(
        case,
        inputs,
        precision,
        job,
        CellProgress(result, lambda stage, failures: None),
        dynamic=border.flag(backend, "dynamic", otherwise=True),
        any_arguments=border.flag(backend, "any_arguments", otherwise=False),
    )


def check_name(name: str, inputs: Mapping[str, Arrays]) -> None:
    """Check that a cell has an input of that name.

    Raises:
        HarnessError: it has none.
    """
    if name and name not in inputs:
        raise HarnessError(
            f"expected --input to be one of {', '.join(inputs)}, found {name!r}."
            f"{did_you_mean(name, list(inputs))}"
        )


def whole_model(
    backend: Backend, case: Case, precision: Precision, reference: Reference, chosen: str
) -> Trial:
    """The trial of the whole model, whose `input` is the first one on which it fails.

    Args:
        backend: to prepare it.
        case: the model.
        precision: to prepare in.
        reference: of the model.
        chosen: the name of the only input to run it on; empty for all.
    """
    try:
        prepared = backend.prepare(case, precision)
        program = CheckedProgram(prepared, reference.dtypes, precision)
    except Exception as error:
        return raised(error, case, chosen or "base")
    worst = 0.0
    for name in [chosen] if chosen else list(reference.inputs):
        try:
            got = program(reference.inputs[name])
        except Exception as error:
            return raised(error, case, name)
        found, floored = _compared(name, got, reference)
        score = max(
            numerics.score(found, floored.floor),
            numerics.LIMIT * found.mismatched / max(numerics.MISMATCHED, floored.mismatch),
        )
        worst = max(worst, numerics.score(found, floored.floor))
        if numerics.is_wrong(found, floored.floor, floored.mismatch):
            reason = printable.kept_line(numerics.explain(found, floored.floor))
            return Trial(TrialKind.WRONG, score, reason, input=name)
    placement = program.placement()
    if placement.device_share < ON_DEVICE:
        reason = printable.kept_line(placement.evidence)
        return Trial(TrialKind.ELSEWHERE, worst, reason, input=chosen or "base")
    return Trial(TrialKind.RIGHT, worst)


def _compared(
    name: str, got: Arrays, reference: Reference
) -> tuple[numerics.Difference, Reference]:
    """The difference on one input without padding, and the reference with that input's floor."""
    variant = reference.further.get(name)
    real = variant.real if variant else {}
    want = reference.outputs[name]
    alike = {n: m for n, m in real.items() if n in got and got[n].shape == m.shape}

    def noise(noisy: families.Call) -> Arrays:
        return padded_outputs.selected(noisy(reference.inputs[name]), alike)

    got, want = padded_outputs.selected(got, alike), padded_outputs.selected(want, alike)
    return numerics.difference(got, want), with_own_floor(reference, got, want, noise)
