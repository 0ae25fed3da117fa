"""Sessions on ONNX Runtime's WebGPU plugin provider, with every way of falling back closed.

`run` would try again on the CPU after a failure (switched off in
`backends._shared.onnx.runtime.Inference`), and so would the constructor (`enable_fallback=0`).
Which provider takes which node the session's assignment of nodes tells.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
import onnxruntime_ep_webgpu
from onnx import TensorProto, helper

from backends._shared.onnx import runtime
from backends.webgpu import vulkan
from harness.contract import Unavailable

PROVIDER = onnxruntime_ep_webgpu.get_ep_name()

#: Has the provider take a processor for its device where the operating system lists no GPU: without
#: one, and in containers.
ALLOW_SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"

#: Provider options of every session: as installed, all arithmetic of int64 runs on the CPU.
OPTIONS: Mapping[str, str] = {"enableInt64": "1"}


#: The provider's message as it compiles a shader with float16 for a device without it.
NO_HALF = "requires f16 but the device does not support it"


@cache
def device() -> Any:
    """The provider's device, a GPU before a processor; registers the provider, once in a process.

    Raises:
        Unavailable: the provider finds none.
    """
    if sys.platform == "linux":
        vulkan.chosen_device()
    os.environ.setdefault(ALLOW_SOFTWARE, "1")
    ort.register_execution_provider_library(PROVIDER, onnxruntime_ep_webgpu.get_library_path())
    found = [each for each in ort.get_ep_devices() if each.ep_name == PROVIDER]
    if not found:
        raise Unavailable(
            f"ONNX Runtime {ort.__version__} finds no device of {PROVIDER}.",
            "install the GPU's driver, and the wheel of onnxruntime-ep-webgpu for this platform.",
        )
    return min(found, key=lambda each: each.device.type != ort.OrtHardwareDeviceType.GPU)


def session(model: bytes) -> Any:
    """A session on a graph.

    Raises:
        What ONNX Runtime raises where the provider cannot compile what it took.
    """
    chosen = runtime.options()
    chosen.add_provider_for_devices([device()], dict(OPTIONS))
    return ort.InferenceSession(model, chosen, enable_fallback=0)


@cache
def has_half_precision() -> bool:
    """Whether the device has WebGPU's feature shader-f16, as its first shader shows."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "half", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    try:
        session(model.SerializeToString()).run(None, {"x": np.ones(4, np.float16)})
    except Exception as error:
        if NO_HALF in str(error):
            return False
        raise
    return True
