"""Runtime of the emulator: runs an executable, and counts which operator ran where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from acme_sdk.kernels import HOST, OWN

#: The largest integer that the DMA engine moves.
LARGEST = 2**31 - 1


@dataclass
class Report:
    """Operators with a floating result that ran on the NPU and on the host, by name."""

    npu: Counter[str] = field(default_factory=Counter)
    host: Counter[str] = field(default_factory=Counter)


class Executable:
    """A compiled program.

    Inputs are converted in place, in the caller's own buffers, and outputs are written into
    buffers that belong to the executable: the next run overwrites them.
    """

    def __init__(self, program: Any, inputs: Sequence[str], *, fast: bool) -> None:
        self.inputs = tuple(inputs)
        self.report = Report()
        self._module = program.module()
        self._fast = fast
        self._outputs: list[Any] | None = None

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Outputs as numpy arrays, in the program's order.

        Args:
            arrays: one for each input, float16 or integers. Not-a-number becomes 0 in them, and
                an integer beyond 31 bits the largest that there is.

        Raises:
            ValueError: their number is another.
        """
        if len(arrays) != len(self.inputs):
            raise ValueError(f"expected {len(self.inputs)} inputs, found {len(arrays)}")
        for array in arrays:
            if array.dtype.kind == "f":
                np.nan_to_num(array, copy=False)
            elif array.dtype.kind == "i":
                np.clip(array, -LARGEST - 1, LARGEST, out=array)
        self.report = Report()
        tensors = [torch.from_numpy(array) for array in arrays]
        with torch.no_grad():
            found = _Interpreter(self._module, self.report, self._fast).run(*tensors)
        made = [tensor.detach().cpu().numpy() for tensor in _flat(found)]
        if self._outputs is None:
            self._outputs = [array.copy() for array in made]
        else:
            for kept, array in zip(self._outputs, made, strict=True):
                kept[...] = array
        return list(self._outputs)


class _Interpreter(torch.fx.Interpreter):
    """Runs each operator where it has a kernel."""

    def __init__(self, module: Any, report: Report, fast: bool) -> None:
        super().__init__(module)
        self._report, self._fast = report, fast

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run one operator."""
        if target in OWN:
            made = OWN[target](*args, **kwargs, fast=self._fast)
        else:
            made = super().call_function(target, args, kwargs)
        if isinstance(target, torch._ops.OpOverload) and _is_floating(made):
            name = target.overloadpacket.__name__
            (self._report.host if name in HOST else self._report.npu)[name] += 1
        return made


def _is_floating(made: Any) -> bool:
    tensors = [tensor for tensor in _flat(made) if isinstance(tensor, torch.Tensor)]
    return any(tensor.is_floating_point() for tensor in tensors)


def _flat(value: Any) -> list[Any]:
    return list(torch.utils._pytree.tree_leaves(value))
