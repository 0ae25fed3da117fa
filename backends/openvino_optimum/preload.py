"""Preloading for the fork server: optimum and OpenVINO's frontend; nothing is computed.

optimum-intel makes an `ov.Core` as it is imported; its plug-ins and threads come with the first
question to it, which a child asks.
"""

from __future__ import annotations

from backends.openvino_optimum import backend  # first: it arranges for no telemetry

# isort: split
import openvino.frontend.pytorch.ts_decoder
import openvino.tools.ovc.convert_impl  # noqa: F401
import optimum.exporters.openvino.convert
import optimum.intel.openvino
import optimum.intel.pipelines.pipeline_base  # noqa: F401

__all__ = ["backend"]
