"""Judgement of a cell: the backend's outputs, tokens and placement against the reference."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from harness.cell.border import CheckedProgram
from harness.cell.progress import CellProgress
from harness.cell.reference import Reference, noise_floor
from harness.cell.repeats import GRAVE_MB, NOTED_MB, Repeats
from harness.checks import batch_rows, families, negative_control, padded_outputs
from harness.contract import (
    BATCH_VARIANCE,
    GROWTH,
    NONDETERMINISM,
    Arrays,
    CellResult,
    CheckFailed,
    Inconclusive,
    Placement,
)
from harness.toolkit import numerics

#: Share of the work that must have run on the device.
ON_DEVICE = 0.999

#: Before an op's name: the metric that counts how many of it ran elsewhere.
FALLBACK = "fallback/"

#: How the reason of a cell begins whose work ran elsewhere.
PLACEMENT = "placement: "


def verify(
    program: CheckedProgram,
    reference: Reference,
    outputs: Mapping[str, Arrays],
    repeats: Repeats,
    rows: tuple[Arrays, Arrays] | None,
    progress: CellProgress,
) -> None:
    """Hold outputs, repeated ones, placement and negative control against the reference.

    Each check that fails is a failure of the cell: wrong outputs (on however many inputs), repeated
    inferences that differ, a check that cannot fail, work that ran elsewhere.

    Raises:
        BrokenContract: the placement is none.
    """
    result = progress.result
    placement = program.placement()
    result.device_share = placement.device_share
    for op, count in placement.fallback_ops.items():
        progress.metric(f"{FALLBACK}{op}", count, "1")
    for name, count in placement.counts.items():
        progress.metric(name, count, "1")
    result.score = 0.0
    wrong: dict[str, CheckFailed | Inconclusive] = {}  # by input
    for name, got in outputs.items():
        try:
            _judge_outputs(name, got, reference, result)
        except (CheckFailed, Inconclusive) as error:
            wrong[name] = error
    if wrong:
        first, *others = wrong
        progress.keep(wrong[first], others)
    with progress.kept():
        judge_repeats(repeats, outputs["base"], reference, progress)
    with progress.kept():
        judge_growth(repeats, progress)
    if "base" not in wrong and rows is not None:
        with progress.kept():
            judge_rows(rows, outputs["base"], reference, progress)
    if "base" not in wrong:
        with progress.kept():
            detection = negative_control.must_fail(
                outputs["base"], reference.wrong, reference.floor, reference.mismatch
            )
            progress.metric("detection_limit", detection, "1")
    with progress.kept():
        _judge_placement(placement)


def _judge_outputs(name: str, got: Arrays, reference: Reference, result: CellResult) -> None:
    """Hold the outputs on one input against the reference, without those on padding."""
    variant = reference.further.get(name)
    real = variant.real if variant else {}
    want = reference.outputs[name]
    alike = {n: m for n, m in real.items() if n in got and got[n].shape == m.shape}
    noise = partial(_noise_on, reference, name, alike)
    got, want = padded_outputs.selected(got, alike), padded_outputs.selected(want, alike)
    compare(name, got, want, with_own_floor(reference, got, want, noise), result)


def _judge_placement(placement: Placement) -> None:
    if placement.device_share < ON_DEVICE:
        fallen = ", ".join(f"{op} x{n}" for op, n in placement.fallback_ops.items())
        fault = f"{PLACEMENT}expected all of the work on the device"
        raise CheckFailed(
            f"{fault}, found {placement.device_share:.1%} ({placement.evidence}); elsewhere: "
            f"{fallen or '?'}",
            fault=f"{fault}; elsewhere: {', '.join(sorted(placement.fallback_ops)) or '?'}",
        )


def judge_repeats(
    repeats: Repeats, first: Arrays, reference: Reference, progress: CellProgress
) -> None:
    """Hold repeated inferences against the first one, and record how they differ.

    Raises:
        CheckFailed: one differs by more than the limit.
    """
    if 0.0 < repeats.apart < math.inf:
        progress.metric(NONDETERMINISM, repeats.apart, "1")
    if repeats.apart:
        noise = partial(_noise_on, reference, "base", {})
        floored = with_own_floor(reference, repeats.worst, first, noise)
        found = numerics.difference(repeats.worst, first)
        if numerics.is_wrong(found, floored.floor, floored.mismatch):
            raise CheckFailed(
                f"nondeterminism: inference {repeats.number}, again on input 'base', differs from "
                f"the first one: {numerics.explain(found, floored.floor)}"
            )


def judge_rows(
    rows: tuple[Arrays, Arrays], plain: Arrays, reference: Reference, progress: CellProgress
) -> None:
    """Hold a row in another place of the batch against itself, and record how it differs.

    Args:
        rows: inputs with that row, and the program's outputs on them.
        plain: the program's outputs on the plain inputs.
        reference: of the model, whose own rows may depend on each other.
        progress: of the cell.

    Raises:
        CheckFailed: the outputs differ by more than the limit, and the reference's do not.
    """
    inputs, outputs = rows
    pair = batch_rows.pair(outputs, plain)
    if pair is None:
        return
    found = numerics.difference(*pair)
    if not found.faults and found.error <= reference.floor and not found.mismatched:
        return
    want = reference.outputs_on(inputs)
    expected = batch_rows.pair(want, reference.outputs["base"])
    if expected is None or is_wrong(*expected, reference):
        return  # rows of this model do depend on each other
    noise = partial(_row_of, inputs)
    floored = with_own_floor(reference, pair[0], expected[0], noise)
    if not found.faults:
        progress.metric(BATCH_VARIANCE, max(found.error, found.mismatched), "1")
    compare("moved-row", pair[0], expected[0], floored, progress.result)


def _row_of(inputs: Arrays, noisy: families.Call) -> Arrays:
    return {name: array[-1:] for name, array in noisy(inputs).items()}


def judge_growth(repeats: Repeats, progress: CellProgress) -> None:
    """Record by how much the process grows with each repeated inference.

    Raises:
        CheckFailed: it grows too much.
    """
    if repeats.growth_mb > NOTED_MB:
        progress.metric(GROWTH, repeats.growth_mb, "MB")
    if repeats.growth_mb > GRAVE_MB:
        raise CheckFailed(
            f"memory: expected the process to grow by at most {GRAVE_MB:g} MB with each inference, "
            f"found {repeats.growth_mb:.0f} MB"
        )


def named_alike(got: Arrays, want: Arrays) -> tuple[Arrays, Arrays]:
    """Outputs of a pipeline and the reference, where a single nameless output is the first one."""
    if list(got) != [""]:
        return got, want
    name, first = next(iter(want.items()))
    answer = got[""]
    return {name: answer.reshape(first.shape) if answer.size == first.size else answer}, {
        name: first
    }


def _noise_on(reference: Reference, name: str, real: Arrays, noisy: families.Call) -> Arrays:
    """Noisy outputs on one input, without the elements on padding."""
    return padded_outputs.selected(noisy(reference.inputs[name]), real)


def with_own_floor(
    reference: Reference, got: Arrays, want: Arrays, noise: Callable[[families.Call], Arrays]
) -> Reference:
    """The reference, with the noise floor of this input where that of the plain inputs is too low.

    A decision that rounding can flip is noise too: it is found where eager execution flips it. So
    is the rounding of data that a model amplifies, as a sine of a large timestep does: it is found
    where data that moved by one rounding explain the difference.

    Args:
        reference: of the model on its plain inputs.
        got: the backend's outputs on an input.
        want: the reference's.
        noise: outputs of a noisy inference, without padding; called only where it decides.
    """
    found = numerics.difference(got, want)
    if found.faults:
        return reference
    if numerics.is_wrong(found, reference.floor, reference.mismatch):
        own = numerics.difference(noise(reference.noisy), want)
        reference = replace(
            reference,
            floor=max(reference.floor, noise_floor(own, reference.precision)),
            mismatch=max(reference.mismatch, own.mismatched),
        )
    if numerics.is_wrong(found, reference.floor, reference.mismatch):
        with contextlib.suppress(Exception):  # a model that cannot be moved keeps its floor
            moved = numerics.difference(noise(reference.moved), want)
            floored = replace(
                reference,
                floor=max(reference.floor, noise_floor(moved, reference.precision)),
                mismatch=max(reference.mismatch, moved.mismatched),
            )
            return reference if moved.faults else floored
    return reference


def is_wrong(got: Arrays, want: Arrays, reference: Reference) -> bool:
    """Whether outputs differ from others by more than the limit."""
    found = numerics.difference(got, want)
    return numerics.is_wrong(found, reference.floor, reference.mismatch)


def compare(name: str, got: Arrays, want: Arrays, reference: Reference, result: CellResult) -> None:
    """Hold outputs against the reference on one input, and keep the worst score.

    Raises:
        CheckFailed: they differ by more than the limit.
    """
    found = numerics.difference(got, want)
    result.score = max(result.score or 0.0, numerics.score(found, reference.floor))
    if numerics.is_wrong(found, reference.floor, reference.mismatch):
        raise CheckFailed(f"on input {name!r}: {numerics.explain(found, reference.floor)}")
