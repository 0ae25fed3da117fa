"""Limits of a child process on time and memory, and its peak memory, with the kernel's help."""

from __future__ import annotations

import faulthandler
import sys
from dataclasses import dataclass, replace

if sys.platform != "win32":
    import resource

#: Bytes in a megabyte, here and wherever a size has the unit MB.
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one task: seconds of wall time, and MB beyond the memory held at its start."""

    seconds: float = 120.0
    memory_mb: int = 4096

    def with_patience(self, patience: float) -> Limits:
        """The same limits with the seconds multiplied by `patience`."""
        return replace(self, seconds=self.seconds * patience)


def peak_rss_mb() -> float | None:
    """Peak resident memory of this process in MB, or None where the system does not say.

    On Linux that is the high-water mark of this process's memory map: `ru_maxrss` would carry over
    the peak of the parent that forked and executed this process.
    """
    if sys.platform == "linux":
        kilobytes = _proc_status("VmHWM")
        return None if kilobytes is None else kilobytes * 1024 / MB
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB


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
    held = _proc_status("VmData")
    if held is None:
        return  # macOS does not enforce the limit; the parent's watch remains
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held * 1024 + limits.memory_mb * MB
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def reset_peak() -> bool:
    """Reset the high-water mark of resident memory; returns whether the system can do that."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # see proc(5)
    except OSError:
        return False
    return True


def _proc_status(key: str) -> int | None:
    """A number from Linux's /proc/self/status, in units of 1024 bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(f"{key}:"):
                    return int(line.split()[1])
    except OSError:
        return None
    return None
