"""The stage `measure` of a cell: speed, memory and energy of its program, held against a baseline.

The program, eager execution on the CPU with the same weights, and a yardstick take turns
(`harness.cell.timing`). The yardstick is fixed work of numpy in one thread, the same in every
environment: it tells how fast the machine was just then, and how much of a core others took.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.cell import border, predicting
from harness.cell.border import CheckedProgram
from harness.cell.progress import CellProgress
from harness.cell.timing import Call, Clocks, in_turn, warm_up
from harness.contract import (
    MEASURED,
    Array,
    Arrays,
    Backend,
    Case,
    GenerationRequest,
    MeterReading,
    Precision,
    Timings,
)
from harness.inputs.workload import workload
from harness.toolkit import seeded_values, timing_statistics
from harness.toolkit.process_memory import GrowthWatch
from harness.toolkit.timing_statistics import Floats, by_turn

#: Names of the series.
PROGRAM, BASELINE, YARDSTICK = "program", "baseline", "yardstick"
ONE_TOKEN, TOKENS = "one-token", "tokens"

#: Tokens of a generated text, whose time beyond the first is that of decoding.
DECODED = 17

#: Seconds after which decoding gets only the fewest rounds.
DECODING_SECONDS = 4.0

#: Rows, width, inner width and layers of the yardstick: a network whose weights fill some of the
#: caches, of products so small that OpenBLAS makes each in one thread.
YARDSTICK_SHAPE = (32, 128, 64, 80)


@dataclass(frozen=True, slots=True)
class Measured:
    """A prepared program with all that its measurement needs.

    Attributes:
        backend: that prepared it.
        case: of the cell.
        precision: that the program computes in.
        program: to measure; the raw one of the backend, without checks.
        inputs: of one inference.
        checked: the same program as it was checked before, with the seconds of its first call.
        memory: the watch that began before it was prepared.
    """

    backend: Backend
    case: Case
    precision: Precision
    program: Callable[[Mapping[str, Array]], object]
    inputs: Arrays
    checked: CheckedProgram
    memory: Memory


@dataclass(slots=True)
class Memory:
    """Host memory of a program: watched from before it is prepared until after its first call.

    Attributes:
        watch: that began before it was prepared.
        peak_mb: the largest growth of resident memory.
        held_mb: the growth that was left.
    """

    watch: GrowthWatch
    peak_mb: float | None = None
    held_mb: float | None = None

    def after_first_call(self) -> None:
        """Keep the growth up to now."""
        self.peak_mb, self.held_mb = self.watch.peak_mb(), self.watch.held_mb()


def measure(found: Measured, progress: CellProgress, clocks: Clocks | None = None) -> None:
    """Measure a program, and keep numbers and raw times with the cell.

    Args:
        found: what to measure.
        progress: of the cell, which has the times of the stages before.
        clocks: of the measurement; the system's where none are given.

    Raises:
        BrokenContract: the backend's meter or placement is none.
        Exception: what the program raises.
    """
    clocks = clocks or Clocks()
    _before(found, progress)
    on_host = border.device(found.backend.probe()).kind == "cpu"
    lent = {name: border.read_only(array) for name, array in found.inputs.items()}
    calls: dict[str, Call] = {PROGRAM: lambda: found.program(lent)}
    base = _baseline(found)
    if base is not None:
        calls[BASELINE] = base
    if on_host:
        calls[YARDSTICK] = yardstick()
    gc.collect()
    warm = {name: warm_up(call, clocks) for name, call in calls.items()}
    progress.metric(f"{MEASURED}warm_up", warm[PROGRAM].calls, "1")
    progress.metric(f"{MEASURED}steady", warm[PROGRAM].steady, "1")
    before = _meter(found.backend)
    series = in_turn(calls, max(one.seconds for one in warm.values()), clocks)
    after = _meter(found.backend)
    progress.result.timings += series
    for name, value, unit in summary(series):
        progress.metric(f"{MEASURED}{name}", value, unit)
    _device(before, after, series[0], progress)
    seconds = statistics.median(series[0].seconds)
    for unit, items in workload(found.inputs, found.case.config()).items():
        progress.metric(f"{MEASURED}{unit}", items / seconds, f"{unit}/s")
    _decode(found, progress, clocks)
    if predicting.can_be_sliced(found.case):
        _predict(found, progress, clocks)


def yardstick() -> Call:
    """Fixed work of numpy in one thread, some milliseconds of it: a small network.

    What it does to caches is what a model does, so that what others do to caches slows both: a
    product of one small matrix would stay in the innermost.
    """
    rows, width, inner, layers = YARDSTICK_SHAPE
    random = np.random.default_rng(0)
    weights = random.standard_normal((layers, width, inner), dtype=np.float32)
    given = random.standard_normal((rows, width), dtype=np.float32)

    def infer() -> object:
        state = given
        for matrix in weights:
            state = np.tanh(state @ matrix) @ matrix.T
        return state

    return infer


def summary(series: list[Timings]) -> list[tuple[str, float, str]]:
    """Name, value and unit of the numbers that raw times give.

    Args:
        series: the program's first, then those that took turns with it.
    """
    known = {one.name: one for one in series}
    program = series[0]
    wall, cpu = _wall(program), _cpu(program)
    found = [
        ("median", statistics.median(program.seconds), "s"),
        ("p95", float(np.quantile(program.seconds, 0.95)), "s"),
        ("cpu", statistics.median(program.cpu_seconds), "s"),
        ("inferences", float(len(program.seconds)), "1"),
        ("drift", timing_statistics.drift(wall), "1"),
        ("same", timing_statistics.against_itself(wall), "1"),
    ]
    found += _level("wall", wall)
    if YARDSTICK in known:
        other = known[YARDSTICK]
        found += _level("relative_cpu", cpu - _cpu(other))
        found.append(("taken", max(0.0, 1 - sum(other.cpu_seconds) / sum(other.seconds)), "1"))
    if BASELINE in known:
        other = known[BASELINE]
        ratio = timing_statistics.ratio_interval(wall, _wall(other))
        found += [
            ("baseline", statistics.median(other.seconds), "s"),
            ("ratio", ratio.ratio, "1"),
            ("ratio_low", ratio.low, "1"),
            ("ratio_high", ratio.high, "1"),
        ]
    return found


def _wall(one: Timings) -> Floats:
    return by_turn(one.seconds, one.turns, fastest=True)


def _cpu(one: Timings) -> Floats:
    return by_turn(one.cpu_seconds, one.turns)


def _level(name: str, turns: Floats) -> list[tuple[str, float, str]]:
    """A level as the seconds or the ratio that it stands for, and its noise as a share of it."""
    level = timing_statistics.level(turns)
    return [(name, float(np.exp(level.value)), "1"), (f"{name}_noise", level.noise, "1")]


def _before(found: Measured, progress: CellProgress) -> None:
    """Numbers of the stages before: building, preparing, the first call, memory; and the load."""
    known = {metric.name: metric.value for metric in progress.result.metrics}
    for name, source in (("load", "wall_build"), ("prepare", "load")):
        if source in known:
            progress.metric(f"{MEASURED}{name}", known[source], "s")
    if found.checked.first_seconds is not None:
        progress.metric(f"{MEASURED}first", found.checked.first_seconds, "s")
    for name, value in (("peak", found.memory.peak_mb), ("held", found.memory.held_mb)):
        if value is not None:
            progress.metric(f"{MEASURED}{name}_memory", value, "MB")
    if sys.platform != "win32":
        progress.metric(f"{MEASURED}load_average", os.getloadavg()[0], "1")
        progress.metric(f"{MEASURED}busy", busy(), "1")


def busy() -> float:
    """How many threads of others each core had to run in the last minute, 0 where none can tell.

    They slow a program down without taking its core: they push its data out of the caches.
    """
    if sys.platform == "win32":
        return 0.0
    others = os.getloadavg()[0] - seeded_values.threads()
    return max(0.0, others) / (os.cpu_count() or 1)


def _baseline(found: Measured) -> Call | None:
    from harness.models.eager_baseline import baseline  # imports what builds real models

    return baseline(found.case, found.inputs)


def _meter(backend: Backend) -> MeterReading | None:
    meter: Callable[[], Any] | None = getattr(backend, "meter", None)
    return None if meter is None else border.meter(meter())


def _device(
    before: MeterReading | None,
    after: MeterReading | None,
    program: Timings,
    progress: CellProgress,
) -> None:
    """Energy, clock and other processes of the device, as far as its library tells them."""
    if before is None or after is None:
        return
    if before.joules is not None and after.joules is not None:
        spent = max(after.joules - before.joules, 0.0)
        progress.metric(f"{MEASURED}energy", spent / len(program.seconds), "J")
    if after.clock_mhz is not None:
        progress.metric(f"{MEASURED}clock", after.clock_mhz, "MHz")
    progress.metric(f"{MEASURED}others", max(before.others, after.others), "1")


def _predict(found: Measured, progress: CellProgress, clocks: Clocks) -> None:
    """Time and memory of the whole model that a wide one is a slice of."""
    sliced: Any = found.case
    whole = predicting.predict(sliced, found.backend, found.precision, clocks, found.memory.peak_mb)
    if whole is None:
        return
    progress.result.timings += whole.timings
    for name, told in (("predicted", whole.seconds), ("predicted_cpu", whole.cpu_seconds)):
        progress.metric(f"{MEASURED}{name}", told.ratio, "s")
        progress.metric(f"{MEASURED}{name}_low", told.low, "s")
        progress.metric(f"{MEASURED}{name}_high", told.high, "s")
    if whole.memory_mb is not None:
        progress.metric(f"{MEASURED}predicted_memory", whole.memory_mb, "MB")


def _decode(found: Measured, progress: CellProgress, clocks: Clocks) -> None:
    """Tokens a second of decoding: what a generated text takes beyond its first token."""
    make = getattr(found.backend, "generator", None)
    how = found.case.generation
    if make is None or how is None:
        return
    generator = make(found.case, found.precision)
    lent = {name: border.read_only(array) for name, array in found.inputs.items()}
    request = GenerationRequest(lent, 1)
    made = border.generated(generator(replace(request, tokens=DECODED)), found.inputs[how.argument])
    rows, length = made.sequences.shape
    decoded = length - found.inputs[how.argument].shape[1] - 1
    if decoded < 1:
        return  # a text that ends at once
    calls: dict[str, Call] = {
        TOKENS: lambda: generator(replace(request, tokens=DECODED)),
        ONE_TOKEN: lambda: generator(request),
    }
    warm = {name: warm_up(call, clocks, DECODING_SECONDS) for name, call in calls.items()}
    usual = max(one.seconds for one in warm.values())
    series = in_turn(calls, usual, clocks, DECODING_SECONDS)
    progress.result.timings += series
    whole, first = (statistics.median(one.seconds) for one in series)
    if whole > first:
        progress.metric(f"{MEASURED}decode", rows * decoded / (whole - first), "tokens/s")
        progress.metric(f"{MEASURED}first_token", first, "s")
