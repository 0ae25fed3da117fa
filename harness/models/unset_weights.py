"""Construction of a module without the random numbers that seeded weights overwrite anyway.

A library draws a billion normal numbers for a model of that size, which takes longer than all else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Matrices of fewer numbers are drawn as ever.
LARGE = 1 << 16

#: Methods of a tensor that draw it, functions of `torch.nn.init` that do, and methods that turn
#: drawn numbers into others.
_DRAWING = ("normal_", "uniform_")
_INITIAL = (
    "normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_",
    "xavier_normal_", "xavier_uniform_", "orthogonal_",
)  # fmt: skip
_SHAPING = ("erfinv_", "mul_", "add_", "div_", "sub_", "clamp_")
#: The function of `torch.nn.init` behind `trunc_normal_`. It draws until every number lies between
#: the bounds: what is left as memory holds it may never do so (modernbert_decoder).
_UNTIL_WITHIN = "_no_grad_trunc_normal_"


@contextmanager
def unset(skipped: set[int]) -> Iterator[None]:
    """A context in which large matrices keep whatever their memory holds instead of random numbers.

    Args:
        skipped: gets the address of each.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    drawing = {getattr(torch.Tensor, name) for name in _DRAWING}
    drawing |= {getattr(torch.nn.init, name) for name in _INITIAL}
    shaping = {getattr(torch.Tensor, name) for name in _SHAPING}

    def left(tensor: Any) -> bool:
        """Whether a tensor is left as it is; its address is kept then."""
        if tensor.ndim < 2 or tensor.numel() < LARGE:
            return False
        skipped.add(tensor.data_ptr())
        return True

    class Skipping(TorchFunctionMode):
        """Leaves out the calls that draw large matrices."""

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Run one function of PyTorch."""
            given = kwargs or {}
            if function in drawing:
                tensor = args[0] if args else given["tensor"]
                if left(tensor):
                    return tensor
            elif function in shaping and args[0].data_ptr() in skipped:
                return args[0]
            return function(*args, **given)

    draw_until_within = getattr(torch.nn.init, _UNTIL_WITHIN)

    def truncated(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Draws a small tensor from the truncated normal distribution, and leaves a large one."""
        return tensor if left(tensor) else draw_until_within(tensor, *args, **kwargs)

    setattr(torch.nn.init, _UNTIL_WITHIN, truncated)
    try:
        with Skipping():
            yield
    finally:
        setattr(torch.nn.init, _UNTIL_WITHIN, draw_until_within)
