"""A backend whose entries fail in some attempts: `raises_fp` fails, passes, fails, passes, ...

The word before the last `_` is a fault of the fake backend `faulty`. The letters after it say what
each attempt does: f fails, p passes, i interrupts the session whose process id is in
`HARNESS_TEST_SESSION` and then hangs. How often each entry was attempted stands in files of the
folder `HARNESS_TEST_ATTEMPTS`, a line an attempt.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.faulty import backend as faulty
from fakes.good import backend as good

from harness.contract import Case, Precision

ATTEMPTS, SESSION = "HARNESS_TEST_ATTEMPTS", "HARNESS_TEST_SESSION"


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of another name."""

    name: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """A case whose entry has another name."""

    case: Case
    entry: Named

    def __getattr__(self, name: str) -> Any:
        return getattr(self.case, name)


class Backend(good.Backend):
    """Implements `harness.contract.Backend`."""

    def prepare(self, case: Case, precision: Precision) -> good.GoodProgram:
        fault, _, pattern = case.entry.name.rpartition("_")
        if not fault:
            return super().prepare(case, precision)
        file = Path(os.environ[ATTEMPTS], case.entry.name)
        before = len(file.read_text().splitlines()) if file.exists() else 0
        with file.open("a") as lines:
            lines.write("attempt\n")
        letter = pattern[before % len(pattern)]
        if letter == "i":
            os.kill(int(os.environ[SESSION]), signal.SIGINT)
            faulty.hang()
        name = fault if letter == "f" else "right"
        renamed: Any = Renamed(case, Named(name))
        faulty.IN_PREPARE.get(name, lambda: None)()
        return faulty.FaultyProgram(renamed, precision.dtype)
