"""Placement of a compiled model: `query_model`, the devices that executed, the runtime model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backends._shared.openvino.devices import Target
from harness.contract import Placement

#: By device, and there by type: how many operations `query_model` gives it.
Support = dict[str, dict[str, int]]


def placement(compiled: Any, support: Support, target: Target, origin: str) -> Placement:
    """Placement by `query_model`, operation by operation, and by the devices that executed.

    Args:
        compiled: an `ov.CompiledModel` that has run.
        support: where `query_model` puts its operations.
        target: where it is meant to run.
        origin: how it came to be, for the evidence.
    """
    ran = executed_on(compiled)
    here = [device for device in ran if any(_same(device, w) for w in target.wanted)]
    elsewhere: Counter[str] = Counter()
    total = 0
    for device, operations in support.items():
        count = sum(operations.values())
        total += count
        if not any(_same(device, w) for w in target.wanted):
            elsewhere.update(
                {f"{op} on {device or 'no device'}": n for op, n in operations.items()}
            )
    share = 1.0 - sum(elsewhere.values()) / max(1, total)
    evidence = (
        f"query_model: {total - sum(elsewhere.values())} of {total} operations on "
        f"{', '.join(target.wanted)}; EXECUTION_DEVICES: {', '.join(ran)}; {kernels(compiled)}; "
        f"{origin}"
    )
    return Placement(share if here else 0.0, evidence, dict(elsewhere))


def kernels(compiled: Any) -> str:
    """The runtime model in one line: kernels by precision, and fused primitives."""
    found = runtime_kernels(compiled)
    if not found:
        return "no runtime model"
    precisions = Counter(kernel["runtimePrecision"] for kernel in found)
    fused = sum(kernel["originalLayersNames"].count(",") for kernel in found)
    counts = ", ".join(f"{precision} x{n}" for precision, n in precisions.most_common())
    return f"runtime model: {len(found)} kernels ({counts}), {fused} fused into others"


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
