"""A module in another dtype, with its complex buffers whole."""

from __future__ import annotations

from typing import Any

#: The method of `torch.nn.Module` for each dtype.
METHODS = {"float64": "double", "float32": "float", "float16": "half", "bfloat16": "bfloat16"}


def cast(module: Any, dtype: Any) -> Any:
    """The module itself, with its real parameters and buffers in another floating dtype.

    `Module.to(dtype)` casts complex buffers as well and drops their imaginary parts: the angles of
    Llama 4's images become their cosines.

    Args:
        module: a `torch.nn.Module`; it is changed.
        dtype: a `torch.dtype` of `METHODS`.
    """
    return getattr(module, METHODS[str(dtype).removeprefix("torch.")])()
