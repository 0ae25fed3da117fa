"""A fake device, and what cells do to it: its context is this process, its health is a file."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.contract import CellResult, Outcome, Stage, Unavailable

Report = Callable[[Stage], None]

#: The sticky error of this process's device context; empty before the first.
_sticky = ""
#: Memory that tasks have left behind in this process.
_kept: list[bytes] = []


@dataclass(frozen=True)
class Work:
    """One task on a fake device; `folder` is the machine that the devices are in."""

    do: str
    folder: Path
    device: str = "only"
    sizes: tuple[int, ...] = field(default=())

    def on(self, unit: str) -> Work:
        return replace(self, device=unit)

    @property
    def dead(self) -> Path:
        """There when the device answers nobody any more."""
        return self.folder / f"{self.device}.dead"


def result(work: Work, outcome: Outcome, reason: str = "") -> CellResult:
    stage = Stage.RUN
    cause = f"RuntimeError: {reason}" if reason else ""
    return CellResult(work.do, "vision", "vit", "base", "f32", stage, outcome, reason, cause)


def run(work: Work, report: Report) -> CellResult:
    """One cell: as a real one, it catches what the device's library raises."""
    global _sticky
    report(Stage.RUN)
    with open(work.folder / "log", "a", encoding="utf-8") as log:
        log.write(f"{work.do} {os.getpid()} {work.device}\n")
    if work.dead.exists():
        return result(work, Outcome.FAIL, "no device")
    if _sticky:
        return result(work, Outcome.FAIL, _sticky)
    match work.do.split("-")[0]:
        case "crash":
            ctypes.string_at(0)
        case "hang":
            time.sleep(60)
        case "fault":  # an illegal access: every later call in this process fails with it
            _sticky = "illegal memory access"
            return result(work, Outcome.FAIL, _sticky)
        case "poison":  # the same, seen by nobody before the next cell
            _sticky = "illegal memory access"
        case "leak":
            _kept.append(b"x" * 80_000_000)
        case "oom":
            return result(work, Outcome.OOM, "device out of memory")
        case "kill":
            work.dead.touch()
            return result(work, Outcome.FAIL, "fell off the bus")
        case "unsupported":
            return result(work, Outcome.UNSUPPORTED, "no kernel")
        case "absent":
            return result(work, Outcome.ABSENT, "requires a package")
        case "wait":
            time.sleep(0.05)
    return result(work, Outcome.PASS)


def probe(work: Work, report: Report) -> str:
    with open(work.folder / "log", "a", encoding="utf-8") as log:
        log.write(f"probe {os.getpid()} {work.device}\n")
    if work.dead.exists():
        raise Unavailable("the device does not answer.", "reset it")
    return "well"
