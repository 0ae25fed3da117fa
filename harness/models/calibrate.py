"""Running statistics of batch norms, from one forward pass of the seeded model.

Left at mean 0 and variance 1, the activations of some CNNs explode (1e9) or collapse (1e-25), and a
relative error of nothing means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def needs_calibration(module: Any) -> bool:
    """Whether a module has batch norms whose statistics are not its own yet."""
    return any(_is_norm(m) for m in module.modules())


def calibrate(
    module: Any, inputs: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> int:
    """Sets every batch norm's running statistics to those of its input, in place.

    The statistics are rounded to a few bits, so that machines whose sums differ in the last bit
    still agree on the weights.

    Args:
        module: a torch module in evaluation mode.
        inputs: tensors by forward-argument name.
        options: arguments of forward that are no tensors.

    Returns:
        How many norms were calibrated.
    """
    import torch

    norms = [m for m in module.modules() if _is_norm(m)]
    if not norms:
        return 0

    def set_statistics(norm: Any, arguments: tuple[Any, ...]) -> None:
        x = arguments[0].detach().double()
        axes = [0, *range(2, x.ndim)]
        mean, var = x.mean(axes), x.var(axes, unbiased=False)
        # A channel that barely varies here (dead, or few samples) must not be blown up for
        # another input that wakes it.
        least = max(0.05 * float(x.pow(2).mean()), 1e-12)
        scale = torch.exp2(torch.round(torch.log2(var.clamp_min(least).sqrt())))
        norm.running_mean.copy_((torch.round(mean / scale * 8) / 8 * scale).to(norm.running_mean))
        norm.running_var.copy_((scale**2).to(norm.running_var))

    hooks = [norm.register_forward_pre_hook(set_statistics) for norm in norms]
    try:
        with torch.no_grad():
            module(**inputs, **(options or {}))
    finally:
        for hook in hooks:
            hook.remove()
    return len(norms)


def _is_norm(module: Any) -> bool:
    """BatchNorm, and the frozen copies of it that detection models carry."""
    return (
        "BatchNorm" in type(module).__name__
        and getattr(module, "running_mean", None) is not None
        and getattr(module, "running_var", None) is not None
    )
