"""PyTorch on the CPU, as the reference backend has it, under an old transformers."""

from __future__ import annotations

from backends.torch_cpu.backend import Backend

__all__ = ["Backend"]
