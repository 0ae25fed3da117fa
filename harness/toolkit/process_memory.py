"""Resident memory of this process: now, at its peak, and at its peak since a moment."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

if sys.platform != "win32":
    import resource

#: Bytes in a megabyte, here and wherever a size has the unit MB.
MB = 1_000_000


def peak_rss_mb() -> float | None:
    """Peak resident memory of this process in MB, or None where the system does not say.

    On Linux that is the high-water mark of this process's memory map: `ru_maxrss` would carry over
    the peak of the parent that forked and executed this process.
    """
    if sys.platform == "linux":
        kilobytes = proc_status("VmHWM")
        return None if kilobytes is None else kilobytes * 1024 / MB
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB


def reset_peak() -> bool:
    """Reset the high-water mark of resident memory; returns whether the system can do that."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # see proc(5)
    except OSError:
        return False
    return True


def proc_status(key: str) -> int | None:
    """A number from Linux's /proc/self/status, in units of 1024 bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(f"{key}:"):
                    return int(line.split()[1])
    except OSError:
        return None
    return None


def release_free_memory() -> None:
    """Give memory that was freed back to the system, so that what is allocated next counts again.

    Only glibc can be asked to; elsewhere a growth is too small by what is used again.
    """
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


class GrowthWatch:
    """Growth of resident memory since the watch began, in MB; unknown where nothing resets peaks.

    Free memory goes back to the system first.

    Attributes:
        earlier_peak: of the process before the watch began, in MB.
    """

    def __init__(self) -> None:
        self.earlier_peak = peak_rss_mb()
        release_free_memory()
        self._works = reset_peak()
        self._before = proc_status("VmRSS")

    def peak_mb(self) -> float | None:
        """The largest growth so far."""
        return self._growth("VmHWM")

    def held_mb(self) -> float | None:
        """The growth that is left now."""
        return self._growth("VmRSS")

    def _growth(self, key: str) -> float | None:
        now = proc_status(key)
        if not self._works or now is None or self._before is None:
            return None
        return max(now - self._before, 0) * 1024 / MB
