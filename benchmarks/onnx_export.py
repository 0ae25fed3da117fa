"""CPU seconds of ONNX exports without the speed-ups of `export_speedups.py`, over those with them.

    nox -s qnn -- --models bert                                 # once, for the environment
    .nox/qnn/bin/python -m benchmarks.onnx_export               # the smoke list
    .nox/qnn/bin/python -m benchmarks.onnx_export --quick       # one model
    .nox/qnn/bin/python -m benchmarks.onnx_export swin detr

The speed-ups are those of `backends/_shared/onnx/export_speedups.py`. One process exports every
model without them, another one with them, each after a first export that reads the tables that
every export needs. Both graphs of a model must be equal. A model whose first route fails is left
out.
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

#: The model of a quick run, cheap to export.
QUICK = ("bert",)

#: How a process exports: without the speed-ups, or with them.
PLAIN, SPED_UP = "plain", "sped-up"


def export(mode: str, names: list[str]) -> None:
    """Prints a line for each model: its name, CPU seconds, and the graph's SHA-256."""
    import torch

    from backends._shared.onnx import export_speedups, exporters
    from backends._shared.onnx.tensor_module import export_input
    from harness.models.case import TinyCase

    torch.set_num_threads(1)
    if mode == SPED_UP:
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
    """By model: the words that another process prints after its name (see `export`)."""
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
    parser.add_argument("models", nargs="*", help="as --models takes them; smoke if none is named")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--mode", choices=[PLAIN, SPED_UP], help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.mode:
        export(args.mode, args.models)
        return 0
    models = QUICK if args.quick else args.models or ["smoke"]
    names = [entry.name for entry in model_lists.load(checkout.ROOT).select(",".join(models))]
    plain, sped_up = measured(PLAIN, names), measured(SPED_UP, names)
    ratios = []
    for name in names:
        if "fails" in (plain[name][0], sped_up[name][0]):
            print(f"{name:32} left out: {plain[name]} and {sped_up[name]}", file=sys.stderr)
            continue
        if plain[name][1] != sped_up[name][1]:
            raise SystemExit(f"{name}: expected equal graphs, found other ones")
        slow, fast = float(plain[name][0]), float(sped_up[name][0])
        ratios.append(slow / fast)
        print(f"{name:32} {slow:6.2f} s  sped up {fast:6.2f} s  {ratios[-1]:4.1f} x")
    ratio = statistics.median(ratios)
    print(f"median over {len(ratios)} models: {ratio:.1f} x")
    return int(ratio < CLAIM)


if __name__ == "__main__":
    sys.exit(main())
