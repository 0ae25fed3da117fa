"""A backend whose every text holds control characters and commands to a CI's runner.

The entry `long` fails with a message of 5 MB, `exits` leaves without a result, `declines` says
that it is unsupported, `absent` that the pins lack it, and `lacks` that its `requires` says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from fakes.good import backend as good

from harness.contract import Absent, Case, Device, Precision, Unsupported

LOUD = "\x1b[2J\x1b]0;title\x07 nul \x00 \u202e \udce9\n::error file=x::no\n ##[group]x ##vso[y]"

print(LOUD)


class Backend(good.Backend):
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        print(LOUD)

    def probe(self) -> Device:
        return Device(f"Loud {LOUD}", "cpu", {"loud": f"1 {LOUD}"}, driver=LOUD)

    def prepare(self, case: Case, precision: Precision) -> good.GoodProgram:
        print(LOUD)
        os.write(2, b"::warning::from C code\r\n")
        match case.entry.name:
            case "long":
                raise RuntimeError(f"{'no ' * 1_700_000}{LOUD}")
            case "lines":
                raise RuntimeError(f"{LOUD}\n" * 40)
            case "exits":
                os._exit(3)
            case "declines":
                raise Unsupported(LOUD)
            case "absent":
                raise Absent(LOUD)
            case "lacks":
                raise Absent("requires loud>=2, found loud 1")
        return super().prepare(case, precision)
