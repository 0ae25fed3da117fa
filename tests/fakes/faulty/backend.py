"""A backend that does to an entry what the entry's name says: `segfault`, `hang`, `drift`, ...

Any other entry is computed right.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from fakes.good import backend as good

from harness.contract import Array, Arrays, Case, Placement, Precision, Unsupported


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    while True:
        time.sleep(0.01)


def leak() -> None:
    kept = []
    while True:
        kept.append(np.ones(4_000_000))  # 32 MB
        time.sleep(0.01)


def big() -> None:
    np.ones(50_000_000_000, dtype=np.uint8)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def noisy() -> None:
    print("printed by the model\n" * 3)
    os.write(2, b"written by C code\n")


def raises() -> None:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x16 and 8x16)")


def refuses() -> None:
    raise Unsupported("no translation for aten::frobnicate")


def daemon() -> None:
    """Forks twice and leaves its session, as daemons do."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        os._exit(0)


IN_PREPARE: Mapping[str, Callable[[], None]] = {
    "segfault": segfault,
    "hang": hang,
    "leak": leak,
    "big": big,
    "killed": killed,
    "noisy": noisy,
    "daemon": daemon,
    "abort": os.abort,
    "leaves": lambda: os._exit(3),
    "exits": lambda: sys.exit("goodbye"),
    "raises": raises,
    "refuses": refuses,
}


class FaultyProgram(good.GoodProgram):
    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        self.name = case.entry.name

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        outputs = super().__call__(inputs)
        match self.name:
            case "nan":
                outputs["output"][0, 0] = np.nan
            case "constant":
                outputs["output"][:] = 1.0
            case "drift":
                outputs["output"] *= 1.001
            case "corrupt":
                os.write(int(os.environ["HARNESS_RESULT_FD"]), b"rubbish from a C library\n")
        return outputs

    def placement(self) -> Placement:
        if self.name == "lies":
            return Placement(0.0, "asked", {"MatMul": 2})
        return super().placement()


class Backend(good.Backend):
    """Implements `harness.contract.Backend`."""

    def prepare(self, case: Case, precision: Precision) -> FaultyProgram:
        IN_PREPARE.get(case.entry.name, lambda: None)()
        return FaultyProgram(case, precision.dtype)
