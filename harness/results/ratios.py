"""Ratios of times, memory and scores between two sets of results, over their common cells.

The cells of one session share a machine, so that the median ratio says how its speed changed as a
whole. A single cell stands out where its ratio lies far from the median, measured by the median
absolute deviation of all cells (Rousseeuw and Croux, *Alternatives to the median absolute
deviation*, JASA 88, 1993): the spread of the cells is the noise of the measurement.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.results.changed_cells import CellKey

#: The standard deviation of a normal distribution, in median absolute deviations.
SCALE = 1.4826

#: Standard deviations from the median ratio beyond which a cell stands out.
FAR = 5.0

#: The least ratio, or its inverse, that stands out: below it nobody acts.
LEAST = 1.25

#: The fewest cells whose spread says something.
FEWEST = 8

#: Standard deviations of an interval of 95 %.
_TWO_SIDED = 1.96


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity; more of it is worse.

    Attributes:
        name: as a reader knows it.
        column: of `harness.results.queries.CellRow`.
        unit: `s`, `MB` or empty.
        least: a difference below this is noise, whatever the ratio; in the unit.
    """

    name: str
    column: str
    unit: str
    least: float


QUANTITIES = (
    Quantity("inference", "inference", "s", 0.005),
    Quantity("load", "load", "s", 0.05),
    Quantity("peak memory", "peak_rss_mb", "MB", 50.0),
    Quantity("score", "score", "", 0.5),
)


@dataclass(frozen=True, slots=True)
class Outlier:
    """A cell whose ratio stands out from those of the other cells."""

    key: CellKey
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """After, divided by before."""
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class Ratios:
    """The ratios of one quantity in one column of the matrix.

    Attributes:
        quantity: which one.
        backend: of the column.
        precision: of the column.
        cells: how many common cells passed and have it on both sides.
        median: of the ratios, after divided by before.
        low: the lower end of the median's 95 % interval.
        high: the upper end.
        outliers: the cells that stand out, the largest ratio first.
    """

    quantity: Quantity
    backend: str
    precision: str
    cells: int
    median: float
    low: float
    high: float
    outliers: tuple[Outlier, ...]


def ratios(
    quantity: Quantity,
    backend: str,
    precision: str,
    pairs: Mapping[CellKey, tuple[float, float]],
) -> Ratios | None:
    """The ratios of one quantity, or None where too few cells have it.

    Args:
        quantity: which one.
        backend: of the column.
        precision: of the column.
        pairs: of each common cell, before and after; both above 0.
    """
    logs = {key: math.log(after / before) for key, (before, after) in pairs.items()}
    if len(logs) < FEWEST:
        return None
    ordered = sorted(logs.values())
    center = statistics.median(ordered)
    spread = SCALE * statistics.median(abs(value - center) for value in ordered)
    far = max(FAR * spread, math.log(LEAST))
    outliers = [
        Outlier(key, *pairs[key])
        for key, value in logs.items()
        if abs(value - center) > far and abs(pairs[key][1] - pairs[key][0]) > quantity.least
    ]
    low, high = _interval(ordered)
    return Ratios(
        quantity,
        backend,
        precision,
        len(logs),
        math.exp(center),
        math.exp(low),
        math.exp(high),
        tuple(sorted(outliers, key=lambda outlier: -outlier.ratio)),
    )


def _interval(ordered: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median by order statistics, whatever the distribution."""
    count = len(ordered)
    reach = _TWO_SIDED * math.sqrt(count) / 2
    low = max(math.floor(count / 2 - reach), 0)
    high = min(math.ceil(count / 2 + reach), count - 1)
    return ordered[low], ordered[high]
