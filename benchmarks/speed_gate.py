"""False alarms and found slowdowns of the gate on speed (`harness.results.speed_gate`).

    OMP_NUM_THREADS=1 .nox/torch-cpu/bin/python -m benchmarks.speed_gate          # 35 minutes
    OMP_NUM_THREADS=1 .nox/torch-cpu/bin/python -m benchmarks.speed_gate --quick  # half a minute

A program of ten passes is measured again and again, each time in a process of its own, with the
code of `--measure`; after each comes a measurement of the same program with an eleventh pass, a
planted slowdown of 10 %. Neighbours among the measurements are the pairs of an A/A experiment,
and each with the slowed one after it is a pair that the gate must find. Exits with 1 where a claim
does not hold; `--quick` has too few pairs to tell, and only prints.

The figures hold for the machine as it is while they are taken. What it is loaded with is printed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.cell import measuring
from harness.cell.timing import Clocks, in_turn, warm_up
from harness.results import speed_gate
from harness.results.changed_cells import CellKey
from harness.results.speed_gate import CPU, SpeedChange
from harness.toolkit.text_table import plain_table

#: Pairs of the whole experiment, and of a quick one.
PAIRS, QUICK = 200, 4

#: The most false alarms, and the fewest found slowdowns, as shares of the pairs.
FALSE_ALARMS, FOUND = 0.01, 0.95

#: Passes of the program, and of the slowed one: 10 % more.
PASSES, SLOWED = 10, 11

#: Pairs of measurements that lie apart in time, drawn at random.
APART = 2000

KEY = CellKey("benchmark", "default", "program", "base")

Numbers = Mapping[str, float]


def program(passes: int) -> Callable[[], object]:
    """So many passes of a transformer's encoder of width 128, in PyTorch, as one inference."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, dropout=0.0)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    given = torch.randn(2, 16, 128)

    def infer() -> object:
        with torch.inference_mode():
            return [module(given.clone()).numpy() for _ in range(passes)]

    return infer


def measured(passes: int) -> dict[str, float]:
    """The numbers of `--measure` for a program of so many passes."""
    clocks = Clocks()
    calls = {
        measuring.PROGRAM: program(passes),
        measuring.YARDSTICK: measuring.yardstick(),
    }
    usual = max(warm_up(call, clocks).seconds for call in calls.values())
    others = measuring.busy()
    series = in_turn(calls, usual, clocks)
    return {name: value for name, value, _ in measuring.summary(series)} | {"busy": others}


def pairs(sides: Sequence[tuple[Numbers, Numbers]]) -> list[SpeedChange]:
    """The CPU times of pairs of measurements, as the gate judges them."""
    found = [change for one, other in sides for change in speed_gate.judged(KEY, one, other)]
    return [change for change in found if change.quantity is CPU]


def figures(
    same: Sequence[Numbers],
    alike: Sequence[SpeedChange],
    planted: Sequence[SpeedChange],
    apart: Sequence[SpeedChange],
    loads: Sequence[float],
) -> list[tuple[str, str, str]]:
    """The rows of the table: a figure, its value, and what is claimed of it."""
    levels = [math.log(one[CPU.level]) for one in same]
    steps = [b - a for a, b in itertools.pairwise(levels)]
    between = math.sqrt(statistics.fmean(step**2 for step in steps) / 2)
    walls = [abs(math.log(b["wall"] / a["wall"])) for a, b in itertools.pairwise(same)]
    return [
        ("load average", f"{statistics.median(loads):.1f} on {os.cpu_count()} cores", ""),
        ("share of a core that others took", percent(n["taken"] for n in same), ""),
        (
            "threads of others for each core",
            f"{statistics.median(n['busy'] for n in same):.1f}",
            "",
        ),
        ("noise, as a run tells it", percent(n[f"{CPU.level}_noise"] for n in same), ""),
        ("noise, of one process to the next", percent([between]), ""),
        ("wall times of neighbours lie apart by", percent(walls), ""),
        ("limit of the gate", percent(c.limit - 1 for c in alike), ""),
        ("planted slowdown, as measured", percent(c.ratio - 1 for c in planted), "10 %"),
        ("false alarms, neighbours", share([c.slower for c in alike]), "below 1 %"),
        ("false alarms, apart in time", share([c.slower for c in apart]), ""),
        ("planted slowdowns found", share([c.slower for c in planted]), "at least 95 %"),
    ]


def percent(values: Iterable[float]) -> str:
    """The median of shares, in percent."""
    return f"{100 * statistics.median(values):.1f} %"


def share(found: Sequence[bool]) -> str:
    """A share in percent, with its counts."""
    return f"{100 * sum(found) / len(found):.1f} % ({sum(found)} of {len(found)})"


def main() -> int:
    """Prints the figures; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few pairs")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of the experiment; {PAIRS}")
    args = parser.parse_args()
    count = QUICK if args.quick else args.pairs
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "harness.cell.measuring"])
    same: list[Numbers] = []
    slowed: list[Numbers] = []
    loads = []
    # One process a measurement: pages lie elsewhere in each.
    with context.Pool(1, maxtasksperchild=1) as pool:
        for number in range(count + 1):
            same.append(pool.apply(measured, (PASSES,)))
            if number < count:
                slowed.append(pool.apply(measured, (SLOWED,)))
            loads.append(os.getloadavg()[0])
            if number % 20 == 19:
                print(f"{number + 1} of {count + 1} measurements", file=sys.stderr, flush=True)
    alike = pairs(list(itertools.pairwise(same)))
    planted = pairs(list(zip(same, slowed, strict=False)))
    drawn = random.Random(0)
    apart = pairs([(drawn.choice(same), drawn.choice(same)) for _ in range(APART)])
    print("\n".join(plain_table(figures(same, alike, planted, apart, loads))))
    if args.quick:
        return 0
    alarms = sum(c.slower for c in alike) / len(alike)
    found = sum(c.slower for c in planted) / len(planted)
    return int(alarms >= FALSE_ALARMS or found < FOUND)


if __name__ == "__main__":
    sys.exit(main())
