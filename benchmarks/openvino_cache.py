"""CPU seconds of `prepare` with an empty artefact cache, over those with a full one.

    nox -s openvino -- --models bert                                # once, for the environment
    .nox/openvino/bin/python -m benchmarks.openvino_cache           # the smoke list
    .nox/openvino/bin/python -m benchmarks.openvino_cache --quick   # five models
    .nox/openvino/bin/python -m benchmarks.openvino_cache bert gpt2 --precision f32

The cold `prepare` converts and compiles; the warm one loads the kept artefact in the same process,
so that neither pays for imports. The outputs of both must be equal. Every model is built
beforehand. The ratio of CPU seconds holds on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness.catalog import backends, model_lists
from harness.contract import Absent, Arrays, Backend, Case, Precision
from harness.models.case import TinyCase
from harness.toolkit import cache, checkout, numerics

#: A median ratio below this would make the cache not worth its disk.
CLAIM = 5.0

#: Models of a quick run, one of each common family.
QUICK = ("bert", "gpt2", "t5", "vit", "resnet")


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of preparing one model, and bytes that it keeps."""

    name: str
    cold: float
    warm: float
    kept: int

    @property
    def ratio(self) -> float:
        """CPU seconds cold over CPU seconds warm."""
        return self.cold / self.warm


def prepared(backend: Backend, case: Case, precision: Precision) -> tuple[float, Arrays]:
    """CPU seconds of `prepare`, and the outputs on the plain example."""
    began = time.process_time()
    program = backend.prepare(case, precision)
    seconds = time.process_time() - began
    return seconds, program(case.inputs("base"))


def measure(name: str, precision_name: str) -> Timing:
    """Prepares a model twice in an empty cache.

    Raises:
        SystemExit: the warm one answers otherwise.
    """
    backend = backends.load(backends.find("openvino"), {})
    precision = next(p for p in backend.precisions if p.name == precision_name)
    case = TinyCase(model_lists.load(checkout.ROOT).entries[name])
    case.module()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cache.FOLDER_VARIABLE] = folder
        cold, first = prepared(backend, case, precision)
        warm, second = prepared(backend, case, precision)
        kept = sum(entry.stat().st_size for entry in os.scandir(folder))
    for output in first:
        if not np.array_equal(first[output], second[output], equal_nan=True):
            found = numerics.difference(second, first)
            raise SystemExit(f"{name}: {output} from the cache differs by {found.error:.2g}")
    return Timing(name, cold, warm, kept)


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", help="as --models takes them; smoke if none is named")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--precision", default="default")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    timings = []
    models = QUICK if args.quick else args.models or ["smoke"]
    for entry in model_lists.load(checkout.ROOT).select(",".join(models)):
        try:
            timing = measure(entry.name, args.precision)
        except Absent:
            continue
        except Exception as error:
            print(f"{entry.name:32} left out: {type(error).__name__}", file=sys.stderr)
            continue
        timings.append(timing)
        print(
            f"{timing.name:32} cold {timing.cold:5.2f} s  warm {timing.warm:5.2f} s  "
            f"{timing.ratio:5.1f} x  {timing.kept / 1e6:5.1f} MB",
            flush=True,
        )
    ratio = statistics.median(timing.ratio for timing in timings)
    kept = statistics.median(timing.kept for timing in timings) / 1e6
    print(f"median over {len(timings)} models: {ratio:.1f} x, {kept:.1f} MB kept")
    return int(ratio < CLAIM)


if __name__ == "__main__":
    sys.exit(main())
