"""Prediction of the whole model's time and memory, from slices of different depth that take turns.

Of a cell at `--size wide`: its own program is one slice, further ones are a few layers deeper
(`harness.toolkit.depth_line`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from harness.cell import border
from harness.cell.timing import Call, Clocks, in_turn, warm_up
from harness.contract import Arrays, Backend, Case, Precision, Timings
from harness.toolkit import depth_line
from harness.toolkit.process_memory import GrowthWatch
from harness.toolkit.timing_statistics import RatioInterval, by_turn

#: Seconds of a slice's warm-up at most, and of the rounds beyond the fewest.
WARM_UP, ROUNDS = 4.0, 6.0


class Sliced(Protocol):
    """The attributes of a case whose depth can be chosen (`harness.models.case.TinyCase`)."""

    @property
    def slice(self) -> Any:
        """Its layers beside those of the whole (`harness.models.slices.Slice`)."""

    def with_layers(self, layers: Mapping[str, int]) -> Case:
        """The same model with other depths."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Time and memory of one inference of the whole model, predicted.

    Attributes:
        seconds: wall time, with its interval.
        cpu_seconds: CPU time of the process, with its interval.
        memory_mb: growth of resident memory at its peak, from before the program is prepared until
            after its first inference; None where the system does not tell.
        timings: raw times of the slices, from the shallow one on.
    """

    seconds: RatioInterval
    cpu_seconds: RatioInterval
    memory_mb: float | None
    timings: list[Timings]


def can_be_sliced(case: Any) -> bool:
    """Whether a case is a slice of a deeper model."""
    if getattr(case, "size", "") != "wide" or getattr(case, "with_layers", None) is None:
        return False
    return bool(depth_line.deeper(case.slice.layers, case.slice.whole))


def predict(
    case: Sliced,
    backend: Backend,
    precision: Precision,
    clocks: Clocks,
    shallow_memory: float | None,
) -> Prediction | None:
    """The prediction for the whole of a sliced model.

    Args:
        case: the shallow slice.
        backend: prepares the slices.
        precision: of the programs.
        clocks: of the measurement.
        shallow_memory: growth of memory in MB with the first program of this process, a shallow
            slice; the slope is that of slices prepared later, which need no start of a library.

    Returns:
        None where the slices tell no line.

    Raises:
        Exception: what the backend raises at a deeper slice.
    """
    shallow: Any = case
    wanted = depth_line.deeper(case.slice.layers, case.slice.whole)
    cases: list[Any] = [shallow, *map(case.with_layers, wanted)]
    shares = depth_line.weights([one.slice.layers for one in cases], case.slice.whole)
    if shares is None:
        return None
    calls: dict[str, Call] = {}
    peaks: list[float | None] = []
    for number, one in enumerate(cases):
        call, peak = _prepared(one, backend, precision)
        calls[f"slice-{number}"] = call
        peaks.append(peak)
    usual = max(warm_up(call, clocks, WARM_UP).seconds for call in calls.values())
    series = in_turn(calls, usual, clocks, ROUNDS)
    walls = [np.exp(by_turn(one.seconds, one.turns, fastest=True)) for one in series]
    cpus = [np.exp(by_turn(one.cpu_seconds, one.turns)) for one in series]
    return Prediction(
        depth_line.predicted(walls, shares),
        depth_line.predicted(cpus, shares),
        _memory(peaks, shares, shallow_memory),
        series,
    )


def _prepared(case: Case, backend: Backend, precision: Precision) -> tuple[Call, float | None]:
    """One inference of a slice as a call, and the growth of memory that it took at its peak."""
    inputs: Arrays = {name: border.read_only(a) for name, a in case.inputs("base").items()}
    watch = GrowthWatch()
    program = backend.prepare(case, precision)
    program(inputs)
    return (lambda: program(inputs)), watch.peak_mb()


def _memory(peaks: list[float | None], shares: Any, shallow: float | None) -> float | None:
    """Growth of memory with the whole model: that of the first program, with the later slope."""
    known = [peak for peak in peaks if peak is not None]
    if len(known) < len(peaks) or shallow is None:
        return None
    return shallow + float(shares @ np.array(known)) - known[0]
