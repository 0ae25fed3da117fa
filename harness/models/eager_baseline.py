"""Baseline of a measurement: PyTorch's eager execution on the CPU, with the same weights.

It does the same work as a backend's program: arrays in, named arrays out, with the attention that
the library prefers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.contract import Array, Case
from harness.toolkit.cpu_seed import seed_cpu

#: Bytes of a parameter of the baseline: float32.
BYTES = 4

#: The most of the free memory that the baseline's weights may take.
SHARE = 0.5


def baseline(case: Case, inputs: dict[str, Array]) -> Callable[[], object] | None:
    """One inference of the baseline as a call; None where there is no PyTorch, or no room.

    Args:
        case: whose module is run.
        inputs: of the inference, by argument of forward.
    """
    try:
        import psutil
        import torch
    except ImportError:
        return None
    from harness.models.eager_reference import tensors

    if case.parameters() * BYTES > SHARE * psutil.virtual_memory().available:
        return None
    module: Any = case.module()
    if not isinstance(module, torch.nn.Module):
        return None  # a backend's own case, as the mock's
    options = case.options()

    def infer() -> object:
        seed_cpu(0)
        with torch.inference_mode():
            return case.outputs(module(**tensors(inputs, torch.float32), **options))

    return infer
