"""Robust statistics of repeated timings: levels, their noise, and ratios of two programs in turn.

Timings are skewed and come in bursts: another process takes the core, a clock steps. So locations
are medians, of turns that lie side by side in time, and noise is told from batches of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Batches whose levels say how noisy a level is.
BATCHES = 8

#: The fewest turns in a batch: the median of one is no median.
LEAST_TURNS = 2

#: Resamples of a bootstrap; Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, want a
#: thousand for an interval.
RESAMPLES = 1000

#: Both tails of an interval of 95 %.
TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Level:
    """A location on a logarithmic scale with its standard error.

    Attributes:
        value: natural logarithm of seconds, or of a ratio of seconds.
        noise: standard error of the value, so that 0.01 is one percent.
    """

    value: float
    noise: float


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """A ratio of two programs' times with its interval of 95 %."""

    ratio: float
    low: float
    high: float


def by_turn(seconds: Sequence[float], turns: int, *, fastest: bool = False) -> Floats:
    """The logarithm of each turn's median, or of its fastest inference.

    What interrupts a process only adds to its wall time: of that the fastest inference says most,
    as in Python's `timeit`. CPU time is not interrupted, and its median is the better one.

    Args:
        seconds: of each inference, above 0, in the order in which they ran; the same number in each
            turn.
        turns: how many there were, at least 1.
        fastest: whether the fastest one stands for a turn.

    Returns:
        One number a turn.

    Raises:
        ValueError: the seconds are no whole number of such turns.
    """
    if turns < 1 or not seconds or len(seconds) % turns:
        raise ValueError(f"expected inferences in {turns} turns of a size, found {len(seconds)}")
    logs = np.log(np.asarray(seconds, dtype=np.float64))
    choose = np.min if fastest else np.median
    found: Floats = choose(logs.reshape(turns, -1), axis=1)
    return found


def level(turns: Floats) -> Level:
    """The median over turns, and its standard error by the method of batch means.

    Turns are cut into batches of neighbours, whose medians are the same program measured against
    itself. Their variance over their number is that of the whole (Schmeiser, *Batch size effects in
    the analysis of simulation output*, 1982). Turns depend on their neighbours, so that a plain
    standard error would be far too small.

    Args:
        turns: logarithms, one a turn, in the order of time.
    """
    batches = max(min(BATCHES, len(turns) // LEAST_TURNS), 1)
    medians = np.array([np.median(part) for part in np.array_split(turns, batches)])
    noise = float(np.std(medians, ddof=1) / batches**0.5) if batches > 1 else float("inf")
    return Level(float(np.median(turns)), noise)


def against_itself(turns: Floats) -> float:
    """The A/A ratio: a program's even turns over its odd ones, 1 but for noise.

    Args:
        turns: logarithms, one a turn; a last one without a partner is left out.
    """
    pairs = len(turns) // 2
    return float(np.exp(np.median(turns[: 2 * pairs : 2] - turns[1 : 2 * pairs : 2])))


def ratio_interval(one: Floats, other: Floats, seed: int = 0) -> RatioInterval:
    """The ratio of two programs that ran in turn, with a bootstrap interval of 95 %.

    The ratio is that of the median turn. Pairs of turns are drawn again in blocks of neighbours,
    since what slows a turn often slows the next: the moving-block bootstrap (Künsch, *The jackknife
    and the bootstrap for general stationary observations*, 1989), with blocks as long as the cube
    root of the number of turns, and percentiles as the interval.

    Args:
        one: logarithms of the one program's turns.
        other: of the other's, as many.
        seed: of the resamples.
    """
    pairs = one - other
    count = len(pairs)
    length = max(1, round(count ** (1 / 3)))
    blocks = -(-count // length)
    starts = np.random.default_rng(seed).integers(0, count - length + 1, (RESAMPLES, blocks))
    places = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count]
    low, high = np.quantile(np.median(pairs[places], axis=1), TAILS)
    return RatioInterval(*(float(np.exp(value)) for value in (np.median(pairs), low, high)))


def drift(turns: Floats) -> float:
    """Last third over first third of a series, as a ratio: 1 where its level stays.

    Args:
        turns: logarithms, one a turn, at least 3.
    """
    third = max(1, len(turns) // 3)
    return float(np.exp(np.median(turns[-third:]) - np.median(turns[:third])))
