"""Prediction of the whole model from slices, held against the whole model.

    .nox/torch-cpu/bin/python -m benchmarks.prediction                 # 12 models
    .nox/torch-cpu/bin/python -m benchmarks.prediction --quick         # vit, judged by memory
    .nox/openvino/bin/python -m benchmarks.prediction --backend openvino
    .nox/torch-cpu/bin/python -m benchmarks.prediction --models bert,vit --cpu-time

One process predicts as `--measure --size wide` does, another one runs the whole model; both take
the same inputs, each alone. They take turns `--repeats` times, and medians are compared: a machine
is faster in one minute than in the next. Exits with 1 where a claim does not hold.

On a machine that others use too, wall times say nothing: `--cpu-time` judges CPU times, best with
`OMP_NUM_THREADS=1`. `--quick` prints times and judges memory alone: one model has no median, and
the machines of continuous integration are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.catalog import backend_spec, backends, model_lists
from harness.cell import border, predicting
from harness.cell.stages import cell_precision
from harness.cell.timing import Clocks, in_turn, warm_up
from harness.contract import Entry
from harness.toolkit import checkout, depth_line
from harness.toolkit.process_memory import GrowthWatch
from harness.toolkit.text_table import plain_table
from harness.toolkit.timing_statistics import by_turn
from harness.workers.settings import ENVIRONMENT

#: Errors that are claimed: of time at the median and at worst, and of memory at worst.
TIME, TIME_AT_WORST, MEMORY = 0.10, 0.25, 0.10

#: Models of different families, up to 1.5 billion parameters by their defaults.
MODELS = (
    "bert",
    "gpt2",
    "vit",
    "whisper",
    "t5",
    "opt",
    "bart",
    "albert",
    "swin",
    "clip",
    "wav2vec2",
    "deberta",
)

#: Pairs of processes for each model: one predicts, one runs the whole.
REPEATS = 3

#: Seconds that one process may take.
PATIENCE = 900

#: Sizes of the model that a process runs.
WIDE, FULL = "wide", "full"

#: glibc gives large blocks back as they are freed, so that resident memory is live memory.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measured(entry: Entry, size: str, backend_name: str, precision_name: str) -> dict[str, Any]:
    """Seconds and MB of the whole model: predicted from a wide one, or told by the whole one."""
    from harness.models.case import TinyCase

    spec = backends.find(backend_name, backend_spec.BACKENDS)
    backend = backends.load(spec, {"cache": "off"})  # memory is that of a conversion, each time
    precision = cell_precision(backend, precision_name)
    case = TinyCase(entry, size=size)
    inputs = {name: border.read_only(a) for name, a in case.inputs("base").items()}
    parameters = case.parameters()
    watch = GrowthWatch()
    program = backend.prepare(case, precision)
    program(inputs)
    memory, clocks = watch.peak_mb(), Clocks()
    if size == WIDE:
        if not depth_line.deeper(case.slice.layers, case.slice.whole):
            raise ValueError(f"{entry.name} has no more layers than its slice")
        found = predicting.predict(case, backend, precision, clocks, memory)
        if found is None:
            raise ValueError(f"the slices of {entry.name} tell no line")
        wall, cpu = found.seconds, found.cpu_seconds
        return {
            "wall": [wall.ratio, wall.low, wall.high],
            "cpu": [cpu.ratio, cpu.low, cpu.high],
            "memory": found.memory_mb,
            "parameters": parameters,
        }
    usual = warm_up(lambda: program(inputs), clocks).seconds
    (series,) = in_turn({"program": lambda: program(inputs)}, usual, clocks)
    wall_turns = by_turn(series.seconds, series.turns, fastest=True)
    cpu_turns = by_turn(series.cpu_seconds, series.turns)
    return {
        "wall": [float(np.exp(np.median(wall_turns)))],
        "cpu": [float(np.exp(np.median(cpu_turns)))],
        "memory": memory,
        "parameters": parameters,
    }


def in_process(name: str, size: str, args: argparse.Namespace) -> Mapping[str, Any] | None:
    """The numbers of a model at a size, from a process of its own; None where that failed."""
    command = [sys.executable, "-m", "benchmarks.prediction", "--child", f"{name} {size}"]
    command += ["--backend", args.backend, "--precision", args.precision]
    try:
        done = subprocess.run(
            command,
            cwd=checkout.ROOT,
            env={**ENVIRONMENT, **ALLOCATOR, **os.environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"{name} at size {size}: more than {PATIENCE} s", file=sys.stderr)
        return None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = done.stderr.strip().splitlines()[-1:]
        print(f"{name} at size {size}: {' '.join(last)}", file=sys.stderr)
        return None
    found: Mapping[str, Any] = json.loads(lines[-1])
    return found


def medians(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The medians of what several processes told of one model, number by number."""
    first = found[0]
    return {
        name: [
            statistics.median(turn) for turn in zip(*(each[name] for each in found), strict=True)
        ]
        if isinstance(first[name], list)
        else statistics.median(each[name] or 0 for each in found)
        for name in first
    }


def compared(
    name: str, predicted: Mapping[str, Any], whole: Mapping[str, Any], clock: str
) -> tuple[list[str], float, float]:
    """A row of the table, and the errors of time and memory."""
    told, low, high = predicted[clock]
    (truth,) = whole[clock]
    time_error = told / truth - 1
    memory_error = (predicted["memory"] or 0) / (whole["memory"] or 1) - 1
    inside = "yes" if low <= truth <= high else "no"
    row = [
        name,
        f"{whole['parameters'] / 1e6:.0f} M",
        f"{1000 * told:.1f} ({1000 * low:.1f} to {1000 * high:.1f})",
        f"{1000 * truth:.1f}",
        f"{100 * time_error:+.1f} %",
        inside,
        f"{predicted['memory'] or 0:.0f}",
        f"{whole['memory'] or 0:.0f}",
        f"{100 * memory_error:+.1f} %",
    ]
    return row, abs(time_error), abs(memory_error)


HEADS = (
    *("model", "parameters", "predicted ms (interval)", "whole ms", "error", "inside"),
    *("predicted MB", "whole MB", "error"),
)


def verdict(
    times: Sequence[float], memories: Sequence[float], asked: int, *, timed: bool = True
) -> int:
    """Prints how the claims hold; 1 where one does not, or a model has no figures.

    `timed`: whether the claims of time are judged, beside the one of memory.
    """
    middle, worst, memory = statistics.median(times), max(times), max(memories)
    print(f"{len(times)} of {asked} models")
    print(f"time: {100 * middle:.1f} % at the median, {100 * worst:.1f} % at worst; claimed 10, 25")
    print(f"memory: {100 * memory:.1f} % at worst; claimed 10")
    in_time = middle <= TIME and worst <= TIME_AT_WORST
    holds = memory <= MEMORY and (in_time or not timed)
    return int(not holds or len(times) < asked)


def main() -> int:
    """Prints a row for each model; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(MODELS), help="entries, 12 without it")
    parser.add_argument("--backend", default="torch-cpu")
    parser.add_argument("--precision", default="default")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="pairs, 3 without it")
    parser.add_argument("--cpu-time", action="store_true", help="judge CPU times")
    parser.add_argument("--quick", action="store_true", help="one model, judged by memory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.models, args.cpu_time, args.repeats = "vit", True, 1
    entries = model_lists.load().entries
    if args.child:
        name, size = args.child.split()
        print(json.dumps(measured(entries[name], size, args.backend, args.precision)))
        return 0
    names = args.models.split(",")
    rows, times, memories = [], [], []
    for name in names:
        turns = [
            [in_process(name, size, args) for size in (WIDE, FULL)] for _ in range(args.repeats)
        ]
        predicted, whole = ([found for found in side if found] for side in zip(*turns, strict=True))
        if not predicted or not whole:
            continue
        clock = "cpu" if args.cpu_time else "wall"
        row, time_error, memory_error = compared(name, medians(predicted), medians(whole), clock)
        rows.append(row)
        times.append(time_error)
        memories.append(memory_error)
        print("  ".join(row), file=sys.stderr, flush=True)
    if not rows:
        return 1
    print("\n".join(plain_table([HEADS, *rows])))
    return verdict(times, memories, len(names), timed=not args.quick)


if __name__ == "__main__":
    sys.exit(main())
