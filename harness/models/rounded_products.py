"""Products of rounded factors on the CPU: the noise floor of TensorFloat-32 and of 8-bit floats.

Factors are rounded, products and sums are float32. TensorFloat-32 has the first 11 of float32's 24
bits (NVIDIA A100 Tensor Core GPU Architecture, 2020, "TensorFloat-32"); as installed, PyTorch lets
cuDNN round to it in convolutions, and cuBLAS not in matrix products (its CUDA semantics notes). To
be an 8-bit float, a tensor is scaled so that its largest value is the format's largest, and back
(Micikevicius et al., FP8 Formats for Deep Learning, 2022, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

#: Bits that TensorFloat-32 loses, of float32's 24.
LOST = 13

#: Operators of ATen, and where the two operands of their products stand among the arguments.
CONVOLUTIONS = {"convolution": 0}
PRODUCTS = CONVOLUTIONS | {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}


def rounded(tensor: Any) -> Any:
    """The nearest values with 11 bits of significand; tensors of other dtypes as they are."""
    import torch

    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    nearest = ((bits + (1 << (LOST - 1))) & -(1 << LOST)).view(torch.float32)
    return torch.where(tensor.isfinite(), nearest, tensor)


def scaled_to_float8(tensor: Any, name: str) -> Any:
    """The nearest values of an 8-bit float with one scale; tensors of other dtypes as they are.

    Args:
        tensor: of float32.
        name: of a dtype of PyTorch, as `float8_e4m3fn`.
    """
    import torch

    if tensor.dtype != torch.float32 or not tensor.numel():
        return tensor
    dtype = getattr(torch, name)
    finite = tensor.isfinite()
    scale = tensor.where(finite, 0.0).abs().max() / torch.finfo(dtype).max
    scale = scale.where(scale > 0, 1.0)
    return torch.where(finite, (tensor / scale).to(dtype).to(torch.float32) * scale, tensor)


@dataclass(frozen=True, slots=True)
class Format:
    """The operators whose factors are rounded, and how."""

    operators: Mapping[str, int]
    rounded: Callable[[Any], Any]


#: The names of such arithmetic, beside those of dtypes.
FORMATS: Mapping[str, Format] = {
    "conv-tfloat32": Format(CONVOLUTIONS, rounded),
    "tfloat32": Format(PRODUCTS, rounded),
    "float8_e4m3fn": Format(PRODUCTS, partial(scaled_to_float8, name="float8_e4m3fn")),
    "float8_e5m2": Format(PRODUCTS, partial(scaled_to_float8, name="float8_e5m2")),
}


def rounding(name: str) -> AbstractContextManager[Any]:
    """A context in which PyTorch computes in one of `FORMATS`; as ever for any other name."""
    if name not in FORMATS:
        return nullcontext()
    from torch.utils._python_dispatch import TorchDispatchMode

    chosen = FORMATS[name]

    class Rounding(TorchDispatchMode):
        """Rounds the operands of products."""

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Run one operator."""
            place = chosen.operators.get(function.overloadpacket.__name__)
            if place is not None:
                operands = map(chosen.rounded, args[place : place + 2])
                args = (*args[:place], *operands, *args[place + 2 :])
            return function(*args, **(kwargs or {}))

    return Rounding()
