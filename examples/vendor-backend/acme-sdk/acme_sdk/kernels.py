"""Kernels of the NPU, and the operators that the host runs in its place.

All floating values are float16. The multiply-accumulate units add up in float16 too, 16 products at
a time, and the sums of these in float32. The fast mode adds up everything in float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

#: Products that one unit adds up in float16.
TILE = 16

aten = torch.ops.aten


def multiply(left: torch.Tensor, right: torch.Tensor, fast: bool) -> torch.Tensor:
    """Matrix product (..., rows, inner) x (..., inner, columns), in float16."""
    inner = left.shape[-1]
    tile = inner if fast else TILE
    total = None
    for begin in range(0, inner, tile):
        part = None
        for k in range(begin, min(begin + tile, inner)):
            product = left[..., :, k : k + 1] * right[..., k : k + 1, :]
            part = product if part is None else part + product  # rounded to float16 each time
        total = part.float() if total is None else total + part.float()
    return total.half()


def convolve(
    data: torch.Tensor, weight: torch.Tensor, bias: Any, *settings: Any, fast: bool
) -> Any:
    """Convolution of images, (batch, channels, height, width): patches times weights."""
    stride, padding, dilation, transposed, _, groups = settings
    if transposed or groups != 1 or data.ndim != 4:
        raise NotImplementedError("convolution that is transposed, grouped or not of images")
    size = weight.shape[2:]
    # im2col in float32, which moves values only.
    patches = torch.nn.functional.unfold(data.float(), size, dilation, padding, stride).half()
    made = multiply(weight.flatten(1), patches, fast)
    height, width = (
        (data.shape[2 + i] + 2 * padding[i] - dilation[i] * (size[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    )
    made = made.reshape(data.shape[0], weight.shape[0], height, width)
    return made if bias is None else made + bias.reshape(1, -1, 1, 1)


#: Operators with kernels of their own, by whether the fast mode is on.
OWN: Mapping[Any, Callable[..., Any]] = {
    aten.mm.default: lambda a, b, fast: multiply(a, b, fast),
    aten.bmm.default: lambda a, b, fast: multiply(a, b, fast),
    aten.addmm.default: lambda c, a, b, fast: multiply(a, b, fast) + c,
    aten.convolution.default: lambda *given, fast: convolve(*given, fast=fast),
}

#: Operators that the NPU runs as PyTorch does in float16, by name.
NPU = frozenset(
  {
    "_adaptive_avg_pool2d", "_native_batch_norm_legit_no_training", "_softmax", "_to_copy",
    "_unsafe_view", "abs", "add", "alias", "amax", "any", "arange", "avg_pool2d", "bitwise_and",
    "bitwise_not", "bitwise_or", "cat", "clamp", "clone", "constant_pad_nd", "copy", "cos", "div",
    "embedding", "empty", "eq", "erf", "exp", "expand", "flip", "full", "full_like", "gather",
    "ge", "gelu", "gt", "index", "index_put", "isfinite", "isinf", "le", "log", "logical_and",
    "logical_not", "logical_or", "lt", "max_pool2d_with_indices", "maximum", "mean", "minimum",
    "mul", "native_group_norm", "native_layer_norm", "ne", "neg", "ones", "permute", "pow",
    "reciprocal", "relu", "repeat", "reshape", "roll", "rsqrt", "scalar_tensor", "select",
    "select_scatter", "sigmoid", "sign", "silu", "sin", "slice", "slice_scatter", "split",
    "split_with_sizes", "sqrt", "squeeze", "stack", "sub", "sum", "to", "transpose", "unbind",
    "unsqueeze", "upsample_bilinear2d", "upsample_nearest2d", "var", "view", "where", "zeros",
  }
)  # fmt: skip

#: Operators that have no kernel and that the runtime hands to the host.
HOST = frozenset({"tanh", "floor", "ceil", "remainder", "floor_divide", "argmax"})
