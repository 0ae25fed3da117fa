"""CPU seconds of exports with and without `backends/_shared/onnx/export_speedups.py`, as a ratio.

    nox -s qnn -- --models bert                                 # once, for the environment
    .nox/qnn/bin/python -m benchmarks.onnx_export               # the smoke list
    .nox/qnn/bin/python -m benchmarks.onnx_export swin detr

One process exports every model as it is done without, another one with it, each after a first
export that reads what every export needs. Their graphs must be equal. A model whose first route
fails is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import time
import warnings
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness.catalog import model_lists
from harness.toolkit import checkout

#: A median ratio below this would not be worth reaching into other libraries.
CLAIM = 1.2

PLAIN, QUICK = "plain", "quick"


def export(mode: str, names: list[str]) -> None:
    """Prints a line for each model: its name, CPU seconds, and what the graph hashes to."""
    import torch

    from backends._shared.onnx import export_speedups, exporters
    from backends._shared.onnx.tensor_module import export_input
    from harness.models.case import TinyCase

    torch.set_num_threads(1)
    if mode == QUICK:
        export_speedups.read_tables_once()
        export_speedups.compare_operators_first()
    else:
        mock.patch.object(exporters, "deferred_code", contextlib.nullcontext).start()
    entries = model_lists.load(checkout.ROOT).entries
    for name in [names[0], *names]:
        try:
            case = TinyCase(entries[name])
            given = export_input(case, case.inputs("base"), frozenset())
            began = time.process_time()
            graph = exporters.ROUTES[0].capture(given).graph().graph
        except Exception as error:
            print(name, "fails", type(error).__name__)
            continue
        seconds = time.process_time() - began
        constants = [value.const_value for value in graph.initializers.values()]
        found = hashlib.sha256(str(graph).encode())
        for constant in filter(None, constants):
            found.update(constant.tobytes())
        print(name, seconds, found.hexdigest(), flush=True)


def measured(mode: str, names: list[str]) -> dict[str, list[str]]:
    """What another process prints of each model."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.onnx_export", "--mode", mode, *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 3 and line[0] in names}


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", default=["smoke"], help="as --models takes them")
    parser.add_argument("--mode", choices=[PLAIN, QUICK], help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.mode:
        export(args.mode, args.models)
        return 0
    names = [entry.name for entry in model_lists.load(checkout.ROOT).select(",".join(args.models))]
    plain, quick = measured(PLAIN, names), measured(QUICK, names)
    ratios = []
    for name in names:
        if "fails" in (plain[name][0], quick[name][0]):
            print(f"{name:32} left out: {plain[name]} and {quick[name]}", file=sys.stderr)
            continue
        if plain[name][1] != quick[name][1]:
            raise SystemExit(f"{name}: expected equal graphs, found other ones")
        slow, fast = float(plain[name][0]), float(quick[name][0])
        ratios.append(slow / fast)
        print(f"{name:32} {slow:6.2f} s  with less work {fast:6.2f} s  {ratios[-1]:4.1f} x")
    ratio = statistics.median(ratios)
    print(f"median over {len(ratios)} models: {ratio:.1f} x")
    return int(ratio < CLAIM)


if __name__ == "__main__":
    sys.exit(main())
