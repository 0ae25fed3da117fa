"""Machine that this process runs on: what roundings and speed follow from, and nothing private."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

#: Environment variables that choose other kernels, and with them other roundings.
KERNELS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def machine() -> Mapping[str, object]:
    """Kind of processor with its instruction sets, Python's version, and the choice of kernels."""
    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "kernels": {name: os.environ.get(name, "") for name in KERNELS},
    }


@functools.cache
def _processor() -> tuple[str, ...]:
    """The processor's model and its instruction sets, as Linux names them; less elsewhere."""
    known = (platform.system(), platform.machine(), platform.processor())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return known
    lines = text.splitlines()
    named = ("model name", "flags", "Features")
    return known + tuple(
        next((line for line in lines if line.startswith(name)), "") for name in named
    )
