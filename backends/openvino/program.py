"""A compiled model on its device: inference, and proof of placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.openvino.devices import Target
from harness.contract import Array, Arrays, Placement

#: By device, and there by type: how many operations `query_model` gives it.
Support = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class CompiledMetadata:
    """Names of a compiled model's ports, and the devices that support its operations.

    Attributes:
        inputs: the forward argument of each of its inputs.
        outputs: the case's name of each of its outputs.
        support: where `query_model` puts its operations.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    support: Support


class OpenVINOProgram:
    """One compiled model.

    Args:
        compiled: an `ov.CompiledModel`.
        about: its ports, and where `query_model` puts its operations.
        target: where it is meant to run.
        origin: how it came to be, for the evidence.
    """

    def __init__(self, compiled: Any, about: CompiledMetadata, target: Target, origin: str) -> None:
        self.compiled = compiled
        self.about = about
        self.target = target
        self.origin = origin
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; floating outputs in float32 or wider."""
        ports = zip(self.compiled.inputs, self.about.inputs, strict=True)
        feed = {
            index: np.asarray(inputs[name], port.get_element_type().to_dtype(), order="C")
            for index, (port, name) in enumerate(ports)
        }
        # Copies: an output's memory is the request's, and another inference writes into it.
        self._request.infer(feed)
        found = [self._request.get_output_tensor(i).data for i in range(len(self.about.outputs))]
        return {
            name: array.astype(np.float32) if array.dtype == np.float16 else array.copy()
            for name, array in zip(self.about.outputs, found, strict=True)
        }

    def placement(self) -> Placement:
        """Placement by `query_model`, operation by operation, and by the devices that executed."""
        ran = executed_on(self.compiled)
        wanted = self.target.wanted
        here = [device for device in ran if any(_same(device, w) for w in wanted)]
        elsewhere: Counter[str] = Counter()
        total = 0
        for device, operations in self.about.support.items():
            count = sum(operations.values())
            total += count
            if not any(_same(device, w) for w in wanted):
                elsewhere.update(
                    {f"{op} on {device or 'no device'}": n for op, n in operations.items()}
                )
        share = 1.0 - sum(elsewhere.values()) / max(1, total)
        evidence = (
            f"query_model: {total - sum(elsewhere.values())} of {total} operations on "
            f"{', '.join(wanted)}; EXECUTION_DEVICES: {', '.join(ran)}; {self._kernels()}; "
            f"{self.origin}"
        )
        return Placement(share if here else 0.0, evidence, dict(elsewhere))

    def _kernels(self) -> str:
        """The runtime model in one line: kernels by precision, and fused primitives."""
        kernels = runtime_kernels(self.compiled)
        if not kernels:
            return "no runtime model"
        precisions = Counter(kernel["runtimePrecision"] for kernel in kernels)
        fused = sum(kernel["originalLayersNames"].count(",") for kernel in kernels)
        counts = ", ".join(f"{precision} x{n}" for precision, n in precisions.most_common())
        return f"runtime model: {len(kernels)} kernels ({counts}), {fused} fused into others"


def executed_on(compiled: Any) -> list[str]:
    """The devices that execute; AUTO puts one that stands in for another in brackets."""
    found = compiled.get_property("EXECUTION_DEVICES")
    names = [found] if isinstance(found, str) else list(found)
    return [name.strip("()") for name in names]


def runtime_kernels(compiled: Any) -> list[dict[str, str]]:
    """Kernels of the runtime model, with precision and type; constants and ports are left out."""
    kept = ("runtimePrecision", "layerType", "primitiveType", "originalLayersNames")
    kernels = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kernel = {key: str(info[key].value) if key in info else "" for key in kept}
        if kernel["layerType"] not in (
            "Const",
            "Constant",
            "Input",
            "Parameter",
            "Output",
            "Result",
        ):
            kernels.append(kernel)
    return kernels


def _same(device: str, wanted: str) -> bool:
    """Whether two names mean one device, as `GPU` and `GPU.0` do."""
    return device == wanted or device.partition(".")[0] == wanted
