"""PyTorch on the CPU under transformers 4.30.2, for architectures that later ones removed."""

from __future__ import annotations

from backends._shared.torch.backend import CpuBackend


class Backend(CpuBackend):
    """Implements `harness.contract.Backend`."""
