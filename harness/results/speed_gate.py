"""Gate on speed: whether a measured cell became slower than the noise of both runs explains.

Each measuring run tells its own noise: the program against itself, in batches of neighbouring
turns (`harness.toolkit.timing_statistics.level`). Two runs are two processes at two times, which no
process can see of itself: `benchmarks/speed_gate.py` measures how far such levels lie apart, and
how often the gate is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.results.changed_cells import CellKey

#: The least ratio that is called slower, or the inverse of one that is called faster.
LEAST = 1.05

#: Standard errors beyond which a difference is no noise: 1 in 200 normal ones, above, is.
ERRORS = 2.6

#: Standard error of a level between processes and times, besides what each tells of its own: with
#: the machine alone, and where others take all of a core or keep each core busy, whose work pushes
#: data out of caches.
BETWEEN, BETWEEN_BUSY = 0.008, 0.035

#: The share of a core that others may have taken, and how many threads of theirs each core may have
#: had to run, for wall times of the host to be judged.
TAKEN, BUSY = 0.02, 0.25


@dataclass(frozen=True, slots=True)
class JudgedTime:
    """A time that is judged.

    Attributes:
        name: as a reader knows it.
        level: the number of a measured cell that is compared; the one with `_noise` behind it is
            its standard error.
        seconds: the number with its seconds.
    """

    name: str
    level: str
    seconds: str


#: CPU time over the yardstick's, of programs that compute on the host.
CPU = JudgedTime("CPU time", "relative_cpu", "cpu")

#: Wall time, of programs on another device, and of the host's where nobody disturbed them.
WALL = JudgedTime("time", "wall", "median")


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """A measured quantity of a cell on two sides.

    Attributes:
        key: of the cell.
        quantity: which one.
        before: seconds on the one side.
        after: seconds on the other.
        ratio: after over before, of what is compared.
        limit: the ratio that noise explains.
    """

    key: CellKey
    quantity: JudgedTime
    before: float
    after: float
    ratio: float
    limit: float

    @property
    def slower(self) -> bool:
        """Whether the cell became slower by more than noise."""
        return self.ratio > self.limit

    @property
    def faster(self) -> bool:
        """Whether it became faster by more than noise."""
        return self.ratio < 1 / self.limit


def judged(
    key: CellKey, before: Mapping[str, float], after: Mapping[str, float]
) -> Sequence[SpeedChange]:
    """The quantities of a cell that can be judged on two sides; empty where it was not measured.

    Args:
        key: of the cell.
        before: its numbers on the one side, by name (`harness.results.queries.CellRow.measured`).
        after: on the other.
    """
    found = []
    for quantity in (CPU, WALL):
        names = (quantity.level, f"{quantity.level}_noise", quantity.seconds)
        known = all(name in side for side in (before, after) for name in names)
        if not known or (quantity is WALL and not (_alone(before) and _alone(after))):
            continue
        one, other = (side[names[1]] for side in (before, after))
        error = math.hypot(one, other, _between(before), _between(after))
        ratio = after[quantity.level] / before[quantity.level]
        limit = max(LEAST, math.exp(min(ERRORS * error, 100.0)))
        found.append(
            SpeedChange(
                key, quantity, before[quantity.seconds], after[quantity.seconds], ratio, limit
            )
        )
    return found


def _between(numbers: Mapping[str, float]) -> float:
    """The standard error between processes, by how much others had the machine do."""
    others = max(numbers.get("taken", 0.0), numbers.get("busy", 0.0))
    return BETWEEN + (BETWEEN_BUSY - BETWEEN) * min(others, 1.0)


def _alone(numbers: Mapping[str, float]) -> bool:
    """Whether the program ran on another device than the host, or nobody took its cores."""
    if CPU.level not in numbers:
        return True
    return numbers.get("taken", 0.0) <= TAKEN and numbers.get("busy", 0.0) <= BUSY
