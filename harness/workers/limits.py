"""Limits of a child process on time and memory, with the kernel's help."""

from __future__ import annotations

import faulthandler
import sys
from dataclasses import dataclass, replace

from harness.toolkit.process_memory import MB, proc_status

if sys.platform != "win32":
    import resource


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one task: seconds of wall time, and MB beyond the memory held at its start."""

    seconds: float = 120.0
    memory_mb: int = 4096

    def with_patience(self, patience: float) -> Limits:
        """The same limits with the seconds multiplied by `patience`."""
        return replace(self, seconds=self.seconds * patience)


def no_core_dump() -> None:
    """Turn core dumps off: cells that crash would fill the disk with core files."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def hold_time(limits: Limits) -> None:
    """Start faulthandler's timer, which prints the stack of every thread and ends the process.

    The timer runs in C: it ends this process also when the interpreter hangs in C code, and when
    the parent is gone.
    """
    faulthandler.dump_traceback_later(limits.seconds, exit=True, file=2)


def hold_memory(limits: Limits) -> None:
    """Set the kernel's limit on data memory (`RLIMIT_DATA`), counted from what is held now."""
    if sys.platform == "win32":
        return
    held = proc_status("VmData")
    if held is None:
        return  # macOS does not enforce the limit; the parent's watch remains
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held * 1024 + limits.memory_mb * MB
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
