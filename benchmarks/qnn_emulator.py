"""CPU seconds of inferences on Qualcomm's emulator without an LD_PRELOAD shim, over those with it.

    nox -s qnn -- --models bert                                 # once, for the environment
    .nox/qnn/bin/python -m benchmarks.qnn_emulator              # the smoke list
    .nox/qnn/bin/python -m benchmarks.qnn_emulator --quick      # one model
    .nox/qnn/bin/python -m benchmarks.qnn_emulator swin2sr

The shim is `backends/qnn/powers_of_two.c`. One process compiles a model; two others load the
context binary, one as it is, one with the shim before the C library. Their outputs must be equal to
the bit. Seconds are those of the fastest inference, after a first one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness.catalog import backends, model_lists
from harness.models.case import TinyCase
from harness.toolkit import cache, checkout
from harness.workers import ld_preload

#: A median ratio over the smoke list below this would not be worth a compiler.
CLAIM = 1.5

#: The claim of a quick run: one ratio spreads more than a median of thirty.
QUICK_CLAIM = 1.2

#: The model of a quick run.
QUICK = ("bert",)

#: Inferences that are measured, of which the fastest counts: neighbours only ever add time.
REPEATS = 5


def infer(name: str) -> None:
    """Prints CPU seconds of an inference, and the outputs' SHA-256."""
    backend = backends.load(backends.find("qnn"), {})
    case = TinyCase(model_lists.load(checkout.ROOT).entries[name])
    program = backend.prepare(case, backend.precisions[0])
    inputs = case.inputs("base")
    outputs = program(inputs)
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        program(inputs)
        seconds.append(time.process_time() - began)
    found = hashlib.sha256(b"".join(array.tobytes() for array in outputs.values()))
    print(min(seconds), found.hexdigest())


def measured(name: str, variables: dict[str, str]) -> tuple[float, str]:
    """CPU seconds and SHA-256 that another process prints, with these environment variables."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.qnn_emulator", "--infer", name],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, found = run.stdout.split()[-2:]
    return float(seconds), found


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", help="as --models takes them; smoke if none is named")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--infer", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.infer:
        infer(args.infer)
        return 0
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        source = backends.find("qnn").folder / "powers_of_two.c"
        library = ld_preload.compile_shim(source, Path(folder))
        if library is None:
            raise SystemExit("expected a C compiler on Linux, found none. Fix: install gcc")
        kept = {cache.FOLDER_VARIABLE: folder}
        models = QUICK if args.quick else args.models or ["smoke"]
        for entry in model_lists.load(checkout.ROOT).select(",".join(models)):
            try:
                measured(entry.name, kept)
                slow, plain = measured(entry.name, kept)
                fast, interposed = measured(entry.name, {**kept, ld_preload.VARIABLE: str(library)})
            except subprocess.CalledProcessError as error:
                print(f"{entry.name:32} left out: {error.stderr[-200:]}", file=sys.stderr)
                continue
            if plain != interposed:
                raise SystemExit(f"{entry.name}: expected equal outputs, found other ones")
            ratios.append(slow / fast)
            print(
                f"{entry.name:32} {slow:6.2f} s  with the library {fast:6.2f} s  "
                f"{ratios[-1]:4.1f} x",
                flush=True,
            )
    ratio = statistics.median(ratios)
    print(f"median over {len(ratios)} models: {ratio:.1f} x")
    return int(ratio < (QUICK_CLAIM if args.quick else CLAIM))


if __name__ == "__main__":
    sys.exit(main())
