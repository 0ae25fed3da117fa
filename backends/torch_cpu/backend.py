"""PyTorch on the CPU: the library's defaults, held against plain float64 arithmetic."""

from __future__ import annotations

from backends._shared.torch.backend import CpuBackend


class Backend(CpuBackend):
    """Implements `harness.contract.Backend`."""
