"""Seed of PyTorch's random numbers on the CPU, and there alone."""

from __future__ import annotations


def seed_cpu(seed: int) -> None:
    """Seed the generator that modeling code draws from on the CPU.

    `torch.manual_seed` also seeds the accelerators. Of those that are not in use yet it keeps a
    stack trace each, which costs as much as a small model's inference.
    """
    import torch

    torch.default_generator.manual_seed(seed)
