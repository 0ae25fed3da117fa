"""Arguments of forward that no example has: each is tried by itself, by the reference alone.

A branch that only such an argument takes is run by no other check: TimesFM 2.5 once called a
method by another model's name where a window was asked for. An argument must be taken, or refused
in words that are meant for users; what comes out must be numbers; a mask that hides nothing changes
nothing, and one that hides something changes something.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from harness.contract import Arrays, Case, LibraryFault, Unsupported, is_floating
from harness.inputs.ungiven import Ungiven
from harness.toolkit import fingerprints, numerics
from harness.toolkit.checkout import PACKAGE

#: The name of the check in `harness/catalog/exemptions.toml`.
NAME = "argument"

#: Errors that modeling code raises on purpose, of a value that it does not take.
MEANT = (ValueError, NotImplementedError, ImportError, AssertionError, Unsupported)

#: The largest error in float32, relative to the norm of an output that must stay as it is.
TOLERANCE = 1e-4


@runtime_checkable
class UngivenCase(Protocol):
    """A case that knows arguments of its forward that no example has."""

    def ungiven(self, outputs: Arrays) -> Sequence[Ungiven]:
        """Those to try, each by itself; what the model gives on its plain inputs says more."""

    def reference_with(self, inputs: Arrays, further: Ungiven, dtype: str) -> Arrays:
        """Outputs of the reference on some inputs and one of them."""


def faults(case: Case, base: Arrays, want: Arrays, dtype: str) -> Iterator[LibraryFault]:
    """Faults of the modeling code, one for each argument that shows one.

    Args:
        case: whose modeling code is meant; an `UngivenCase`, or there is nothing to check.
        base: its plain inputs.
        want: the reference's outputs on them.
        dtype: of the reference.

    Raises:
        MemoryError: memory ran out, or an allocator's own error.
    """
    if not isinstance(case, UngivenCase):
        return
    for further in case.ungiven(want):
        said = f"{NAME} {further}"
        try:
            outputs = case.reference_with(base, further, dtype)
        except Exception as error:
            if fingerprints.is_out_of_memory(type(error).__name__, str(error)):
                raise  # of the machine, not of the library
            if not _is_meant(error):
                fault = LibraryFault(f"{said}: {type(error).__name__}: {error}", fault=said)
                fault.__cause__ = error
                yield fault
            continue
        wrong = _wrong(outputs, want, further)
        if wrong:
            yield LibraryFault(f"{said}: {wrong}", fault=said)


def _is_meant(error: Exception) -> bool:
    """Whether a library refuses a value, or the harness does not take what comes of it."""
    if isinstance(error, MEANT):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)


def _wrong(outputs: Arrays, want: Arrays, further: Ungiven) -> str:
    """The fault in outputs with an argument; empty if there is none."""
    unlike = [n for n, a in outputs.items() if is_floating(a) and np.isnan(a).any()]
    unlike = [n for n in unlike if n not in want or not np.isnan(want[n]).any()]
    if unlike:
        return f"expected numbers, found NaN in {', '.join(unlike)}"
    alike = {n: outputs[n] for n in want if n in outputs and outputs[n].shape == want[n].shape}
    if further.moves and alike.keys() == want.keys():
        still = all(np.array_equal(a, want[n], equal_nan=is_floating(a)) for n, a in alike.items())
        return "expected it to change the outputs, which stayed the same" if still else ""
    if not further.same:
        return ""
    found = numerics.difference(outputs, want)
    if found.faults or found.error > TOLERANCE:
        moved = "; ".join(found.faults) or f"{found.output} is off by {found.error:.2g}"
        return f"expected the outputs as they are without it, found: {moved}"
    return ""
