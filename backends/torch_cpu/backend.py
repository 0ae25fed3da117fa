"""PyTorch on the CPU: the library's defaults, held against plain float64 arithmetic."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from backends._torch import TorchBackend, versions
from harness.contract import Device


class Backend(TorchBackend):
    """Implements `harness.contract.Backend`."""

    device = torch.device("cpu")

    def probe(self) -> Device:
        """The processor's name, its vector instructions and the machine's memory."""
        return Device(
            name=_processor(),
            kind="cpu",
            versions=versions(),
            driver=torch.backends.cpu.get_cpu_capability(),
            memory_bytes=_memory(),
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    import psutil

    return int(psutil.virtual_memory().total)
