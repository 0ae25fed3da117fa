"""ONNX Runtime's WebGPU plugin provider on this machine: its device, and what the device can."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime_ep_webgpu
from onnx import TensorProto, helper

from backends._shared import vulkan
from backends._shared.onnx.plugin_provider import PluginProvider

PROVIDER = onnxruntime_ep_webgpu.get_ep_name()

#: Has the provider take a processor for its device where the operating system lists no GPU: without
#: one, and in containers.
ALLOW_SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"

#: The provider's message as it compiles a shader with float16 for a device without it.
NO_HALF = "requires f16 but the device does not support it"


@cache
def provider() -> PluginProvider:
    """The provider, with a GPU or what stands in for one made known to it.

    As installed, it leaves all arithmetic of int64 to the CPU: `enableInt64` is set.

    Raises:
        Unavailable: there is no Vulkan driver.
    """
    if sys.platform == "linux":
        vulkan.chosen_device()
    os.environ.setdefault(ALLOW_SOFTWARE, "1")
    library = Path(onnxruntime_ep_webgpu.get_library_path())
    return PluginProvider(library, PROVIDER, {"enableInt64": "1"})


@cache
def has_half_precision() -> bool:
    """Whether the device has WebGPU's feature shader-f16, as its first shader shows."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "half", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    try:
        session = provider().session(model.SerializeToString())
        session.run(None, {"x": np.ones(4, np.float16)})
    except Exception as error:
        if NO_HALF in str(error):
            return False
        raise
    return True
