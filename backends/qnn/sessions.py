"""Sessions on the QNN provider, with every way of falling back in silence closed.

There are four: `run` tries again on the CPU after a failure (switched off in
`backends._shared.onnx.runtime.Inference`), the constructor does (`enable_fallback=0`), an
undetermined or wrong library computes on the CPU while the provider is still named (`backend_path`
and `soc_model` are always given, and the assignment of nodes is read back), and a provider named by
`providers=[...]` is passed over when it is not built in (it is added by its device).
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort
import onnxruntime_qnn

from backends._shared.onnx import runtime
from backends.qnn.soc import Soc
from harness.contract import Unavailable

PROVIDER = "QNNExecutionProvider"


@cache
def devices() -> tuple[Any, ...]:
    """The provider's devices on this machine; registers it, once in a process.

    Raises:
        Unavailable: the provider finds none.
    """
    ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    found = tuple(d for d in ort.get_ep_devices() if d.ep_name == PROVIDER)
    npus = tuple(d for d in found if d.device.type == ort.OrtHardwareDeviceType.NPU)
    if not found:
        raise Unavailable(
            f"ONNX Runtime {ort.__version__} finds no device of {PROVIDER}.",
            "on Windows on ARM install Qualcomm's NPU driver; elsewhere use the wheel of "
            "onnxruntime-qnn for this platform.",
        )
    return npus[:1] or found[:1]


def session(model: bytes, soc: Soc) -> Any:
    """A session on a model, which the provider compiles for the SoC, or on a compiled one.

    Raises:
        What ONNX Runtime raises where the provider cannot compile what it took.
    """
    return ort.InferenceSession(model, _options(soc), enable_fallback=0)


def compiled(model: bytes, soc: Soc) -> tuple[Any, bytes]:
    """A session on a model, and the model with what the provider compiled in place of its nodes.

    Raises:
        As `session`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "context.onnx")
        chosen = _options(soc)
        chosen.add_session_config_entry("ep.context_enable", "1")
        chosen.add_session_config_entry("ep.context_embed_mode", "1")
        chosen.add_session_config_entry("ep.context_file_path", str(path))
        made = ort.InferenceSession(model, chosen, enable_fallback=0)
        # None is written where the provider took nothing.
        return made, path.read_bytes() if path.is_file() else b""


def _options(soc: Soc) -> Any:
    chosen = runtime.options()
    chosen.add_provider_for_devices(
        list(devices()),
        {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "soc_model": soc.model},
    )
    return chosen
