"""Speed of seeded weights, as a ratio to numpy's and PyTorch's own normal numbers.

    .nox/torch-cpu/bin/python -m benchmarks.weights             # 400 MB of float32
    .nox/torch-cpu/bin/python -m benchmarks.weights --quick     # 32 MB

Each fills the same array, PyTorch on as many threads, the three in turn, and the best round of each
counts. PyTorch's is left out where there is none. The values of parts are those of the whole: the
array is also made on one thread, and has to be the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from harness.toolkit import seeded_values
from harness.toolkit.text_table import plain_table

#: The least ratio to numpy's `standard_normal`, which uses one thread.
CLAIM = 2.0

#: Rounds in which each has a turn.
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 where the claim does not hold or parts differ from the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small array")
    args = parser.parse_args(arguments)
    array = np.zeros(8_000_000 if args.quick else 100_000_000, np.float32)
    ways = fillers(array)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, fill in ways.items():
            began = time.perf_counter()
            fill()
            best[name] = min(best[name], time.perf_counter() - began)
    rows = [("", "GB/s", "ratio")]
    seeded = best["seeded values"]
    for name, seconds in best.items():
        rows.append((name, f"{array.nbytes / 1e9 / seconds:.2f}", f"{seconds / seeded:.1f}"))
    print("\n".join(plain_table(rows, numbers=True)))
    ratio = best["numpy standard_normal"] / seeded
    print(f"{seeded_values.threads()} threads; numpy takes {ratio:.1f} times as long")
    same = parts_are_the_whole()
    print(f"parts on several threads are the whole: {'yes' if same else 'NO'}")
    return 0 if ratio >= CLAIM and same else 1


def fillers(array: NDArray[np.float32]) -> Mapping[str, Callable[[], object]]:
    """Functions that fill an array, by name."""

    def seeded() -> None:
        def write(start: int, values: NDArray[np.float32]) -> None:
            array[start : start + values.size] = values

        seeded_values.write_uniform(0, "benchmark", array.shape, write)

    generator = np.random.Generator(np.random.Philox(0))
    ways: dict[str, Callable[[], object]] = {
        "seeded values": seeded,
        "numpy standard_normal": lambda: generator.standard_normal(out=array, dtype=np.float32),
    }
    if find_spec("torch") is not None:
        import torch

        tensor = torch.from_numpy(array)
        torch.set_num_threads(seeded_values.threads())
        ways["torch normal_"] = tensor.normal_
    return ways


def parts_are_the_whole() -> bool:
    """Whether an array is the same on one thread and on several."""
    shape = (3 * seeded_values.LARGE + 5,)
    several = seeded_values.uniform(0, "benchmark", shape)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        return bool(np.array_equal(several, seeded_values.uniform(0, "benchmark", shape)))
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


if __name__ == "__main__":
    sys.exit(main())
