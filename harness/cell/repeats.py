"""Repeated inferences on one input: time, determinism, and growth of the process's memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cell.border import CheckedProgram, identical
from harness.contract import Arrays
from harness.toolkit import numerics

#: How many inferences a program runs at most, on all inputs together: some faults show late.
INFERENCES = 16

#: Seconds of repeated inferences that are enough; one is repeated in any case.
ENOUGH_SECONDS = 0.25

#: How many inferences, the last ones, say how much memory each leaves behind.
LATE = 4

#: How many inferences come before those, while an allocator warms up.
WARM_UP = 2

#: Bytes in a megabyte.
MB = 1e6

#: MB by which a process may grow with each late inference: an allocator's pages.
NOTED_MB = 0.5

#: MB of growth per inference that no use of the program survives.
GRAVE_MB = 32.0


@dataclass(slots=True)
class Repeats:
    """The outcome of running the same inference again and again.

    Attributes:
        seconds: wall time of each.
        apart: the largest relative error between one of them and the first; 0 where all outputs
            are the same to the last bit.
        worst: the outputs that lie so far apart from the first.
        number: which inference that was, counted over all inputs.
        growths: bytes by which the process grew with each, and with others of the same shapes.
    """

    seconds: list[float] = field(default_factory=list)
    apart: float = 0.0
    worst: Arrays = field(default_factory=dict)
    number: int = 0
    growths: list[int] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """MB that each inference leaves behind: the least growth among the last few of them.

        0 where there are too few to tell a leak from an allocator's warm-up.
        """
        if len(self.growths) < WARM_UP + LATE and not self.leaks_gravely:
            return 0.0
        return min(self.growths[-LATE:]) / MB

    @property
    def leaks_gravely(self) -> bool:
        """Whether each of the last few inferences has left so much behind that it is no warm-up."""
        return len(self.growths) >= LATE and self._grows_gravely()

    @property
    def may_leak(self) -> bool:
        """Whether each has left so much behind, and there are too few to be sure."""
        return 0 < len(self.growths) < LATE and self._grows_gravely()

    def _grows_gravely(self) -> bool:
        return min(self.growths[-LATE:]) > GRAVE_MB * MB


def repeat(program: CheckedProgram, inputs: Arrays, first: Arrays, before: int) -> Repeats:
    """Run an inference again until there are enough of them.

    Args:
        program: to run.
        inputs: the plain example.
        first: what the program gave on it the first time.
        before: how many inferences there were already.
    """
    made = Repeats(growths=program.growths)  # the program appends to them
    while (
        not made.seconds
        or made.may_leak
        or (
            before + len(made.seconds) < INFERENCES
            and sum(made.seconds) < ENOUGH_SECONDS
            and not made.leaks_gravely
        )
    ):
        try:
            outputs = program(inputs)
        except Exception as error:
            error.add_note("again on input 'base'")
            raise
        made.seconds.append(program.seconds)
        apart = _distance(outputs, first)
        if apart > made.apart:
            made.apart, made.worst = apart, outputs
            made.number = before + len(made.seconds)
    return made


def _distance(outputs: Arrays, first: Arrays) -> float:
    """0 where two outputs are the same to the last bit, else how far they lie apart."""
    if outputs.keys() == first.keys() and all(
        array.shape == first[name].shape and identical(array, first[name])
        for name, array in outputs.items()
    ):
        return 0.0
    found = numerics.difference(outputs, first)
    return float("inf") if found.faults else max(found.error, found.mismatched)
