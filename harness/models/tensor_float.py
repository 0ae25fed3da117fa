"""TensorFloat-32 on the CPU: the noise floor of GPUs that multiply float32 by its first 11 bits.

Operands lose the last 13 of 24 bits of their significand, products and sums are float32 (NVIDIA
A100 Tensor Core GPU Architecture, 2020, "TensorFloat-32"). As installed, PyTorch lets cuDNN do so
in convolutions, and cuBLAS not in matrix products (its CUDA semantics notes).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

#: Bits that are lost, of float32's 24.
LOST = 13

#: Operators of ATen, and where the two operands of their products stand among the arguments.
CONVOLUTIONS = {"convolution": 0}
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}

#: The names of such arithmetic, beside those of dtypes, and what is rounded in it.
FORMATS: Mapping[str, Mapping[str, int]] = {
    "conv-tfloat32": CONVOLUTIONS,
    "tfloat32": CONVOLUTIONS | PRODUCTS,
}


def rounding(name: str) -> AbstractContextManager[Any]:
    """A context in which PyTorch computes in one of `FORMATS`; as ever for any other name."""
    if name not in FORMATS:
        return nullcontext()
    from torch.utils._python_dispatch import TorchDispatchMode

    first = FORMATS[name]

    class Rounding(TorchDispatchMode):
        """Rounds the operands of products."""

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Run one operator."""
            place = first.get(function.overloadpacket.__name__)
            if place is not None:
                rest = args[place + 2 :]
                args = (*args[:place], *map(rounded, args[place : place + 2]), *rest)
            return function(*args, **(kwargs or {}))

    return Rounding()


def rounded(tensor: Any) -> Any:
    """The nearest values with 11 bits of significand; tensors of other dtypes as they are."""
    import torch

    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    nearest = ((bits + (1 << (LOST - 1))) & -(1 << LOST)).view(torch.float32)
    return torch.where(tensor.isfinite(), nearest, tensor)
