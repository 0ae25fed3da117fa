"""Threads of the host: a program gives the same on one of them as on several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from harness.cell.border import CheckedProgram, context
from harness.cell.judgement import with_own_floor
from harness.cell.progress import CellProgress
from harness.cell.reference import Reference
from harness.checks import families
from harness.contract import THREAD_VARIANCE, Arrays, Backend, CheckFailed
from harness.toolkit import numerics

#: How many threads a program is run on: a race needs two, and other sums need one to differ from.
COUNTS = (1, 2)


def on_threads(backend: Backend, program: CheckedProgram, inputs: Arrays) -> dict[int, Arrays]:
    """A program's outputs by the number of threads; empty where the backend cannot choose it.

    Args:
        backend: that prepared the program.
        program: to run.
        inputs: of one inference.

    Raises:
        BrokenContract: the backend's `on_threads` gives no context manager.
        Exception: what the program raises, with a note that says on how many threads.
    """
    choose: Callable[[int], AbstractContextManager[None]] | None
    choose = getattr(backend, "on_threads", None)
    if choose is None:
        return {}
    found = {}
    for count in COUNTS:
        with context(choose(count), "on_threads"):
            try:
                found[count] = program(inputs)
            except Exception as error:
                error.add_note(f"on {count} threads, on input 'base'")
                raise
    return found


def judge_threads(
    outputs: Mapping[int, Arrays], plain: Arrays, reference: Reference, progress: CellProgress
) -> None:
    """Hold outputs on other numbers of threads against the plain ones, and record how they differ.

    Args:
        outputs: by the number of threads.
        plain: the program's outputs, on as many threads as the session gives it.
        reference: of the model.
        progress: of the cell.

    Raises:
        CheckFailed: some differ by more than the limit.
    """
    apart = 0.0
    for count, got in outputs.items():
        found = numerics.difference(got, plain)
        if not found.faults and found.error <= reference.floor and not found.mismatched:
            continue
        floored = with_own_floor(reference, got, plain, partial(_noise, reference))
        if numerics.is_wrong(found, floored.floor, floored.mismatch):
            raise CheckFailed(
                f"threads: on {count} of them the outputs on input 'base' differ from the plain "
                f"ones: {numerics.explain(found, floored.floor)}",
                fault="threads: their number changes the outputs",
            )
        apart = max(apart, found.error, found.mismatched)
    if apart:
        progress.metric(THREAD_VARIANCE, apart, "1")


def _noise(reference: Reference, noisy: families.Call) -> Arrays:
    return noisy(reference.inputs["base"])
