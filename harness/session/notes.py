"""Notes on a cell that do not make it fail: nondeterminism, memory that grows, other examples."""

from __future__ import annotations

from harness.contract import (
    BATCH_VARIANCE,
    EXAMPLES_TRIED,
    GROWTH,
    NONDETERMINISM,
    THREAD_VARIANCE,
    CellResult,
)
from harness.report import measured


def notes(result: CellResult) -> list[str]:
    """Sentences on a cell, from its metrics; pytest shows each as a warning."""
    found = {metric.name: metric.value for metric in result.metrics}
    said = []
    if NONDETERMINISM in found:
        said.append(
            f"{result.outcome}, and nondeterministic: inferences on the same input differ by a "
            f"relative error of {found[NONDETERMINISM]:.2g}"
        )
    if BATCH_VARIANCE in found:
        said.append(
            f"{result.outcome}, and not batch-invariant: another place in the batch and other "
            f"neighbours change a row by a relative error of {found[BATCH_VARIANCE]:.2g}"
        )
    if THREAD_VARIANCE in found:
        said.append(
            f"{result.outcome}, and not the same on other threads: their number changes the "
            f"outputs by a relative error of {found[THREAD_VARIANCE]:.2g}"
        )
    if GROWTH in found:
        said.append(
            f"{result.outcome}, and leaks: the process grows by {found[GROWTH]:.1f} MB with each "
            "inference"
        )
    if EXAMPLES_TRIED in found:
        said.append(
            f"{result.outcome}, on example {found[EXAMPLES_TRIED]:.0f} of its seed: before it the "
            "reference itself does not hold"
        )
    return said + measured.doubts(measured.numbers(result))
