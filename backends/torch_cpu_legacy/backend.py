"""PyTorch on the CPU under an old transformers, which has what later ones removed."""

from __future__ import annotations

from backends._shared.torch.backend import CpuBackend


class Backend(CpuBackend):
    """Implements `harness.contract.Backend`."""
