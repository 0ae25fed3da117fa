"""Values moved by about one rounding: weights, constants, inputs, and values of functions.

By backward error analysis a computation in finite precision is the exact one of slightly moved data
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 1.5). A sine of a large
timestep and a Fourier transform amplify that of their argument, which is an input, a buffer, or a
constant that the modeling code computes by `exp` or `pow`; libraries of mathematics round those
functions differently from CPU to CPU.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Arrays, is_floating
from harness.toolkit import seeded_values

#: Operators of ATen whose values are moved. Not `log`, from which modeling code computes integers,
#: as t5 does its buckets of positions.
FUNCTIONS = frozenset(
    {"exp", "exp2", "pow", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "rsqrt"}
)

#: Fourier transforms of ATen, as in fnet. By its definition each value is a sum over all others,
#: with sines of angles up to 2 pi times the length, so that one rounding of the angle moves it by
#: that share of the values' RMS.
TRANSFORMS = frozenset({"_fft_r2c", "_fft_c2c", "_fft_c2r"})


def module_moved(module: Any, step: float, seed: int) -> Any:
    """The module, each floating parameter and buffer moved in place by up to `step` of itself."""
    for name, held in (*module.named_parameters(), *module.named_buffers()):
        if held.is_floating_point():
            _move(held.detach(), step, seed, f"jitter/{name}")
    return module


def _move(held: Any, step: float, seed: int, name: str) -> None:
    """Moves a tensor's values in place, block by block: Gemma 2's table of tokens has 2.4 GB."""
    import torch

    shape = tuple(held.shape)
    if not held.is_contiguous():
        noise = seeded_values.uniform(seed, name, shape)
        held.mul_(1 + torch.from_numpy(noise).to(held.dtype) * step)
        return
    flat = held.view(-1)

    def write(start: int, noise: NDArray[np.float32]) -> None:
        flat[start : start + noise.size].mul_(1 + torch.from_numpy(noise).to(held.dtype) * step)

    seeded_values.write_uniform(seed, name, shape, write)


def inputs_moved(inputs: Arrays, step: float, seed: int) -> Arrays:
    """Inputs moved by up to `step` of themselves.

    Whole numbers stay as they are: a format holds them exactly, as it does masks of 0 and 1.
    """
    moved = {}
    for name, array in inputs.items():
        if is_floating(array) and not np.array_equal(array, np.rint(array)):
            noise = seeded_values.uniform(seed, f"jitter/input/{name}", array.shape)
            array = (array * (1 + noise.astype(np.float64) * step)).astype(array.dtype)
        moved[name] = array
    return moved


def moving(step: float, seed: int) -> AbstractContextManager[Any]:
    """A context in which PyTorch moves the value of each of `FUNCTIONS` by up to `step` of it."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Moving(TorchDispatchMode):
        """Moves the values of functions."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = torch.Generator().manual_seed(seed)

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Run one operator."""
            made = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            if name not in FUNCTIONS and name not in TRANSFORMS:
                return made
            if not (made.is_floating_point() or made.is_complex()):
                return made
            noise = 2 * torch.rand(made.shape, generator=self.generator, device="cpu") - 1
            if name in TRANSFORMS:
                length = max(made.shape[axis] for axis in args[1])
                rms = made.abs().pow(2).mean().sqrt()
                return made + noise.to(made.dtype) * (step * length * rms)
            return made * (1 + noise.to(made.dtype) * step)

    return Moving()
