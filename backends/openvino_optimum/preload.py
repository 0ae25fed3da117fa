"""What the fork server imports, so that no child pays for it again; it computes nothing.

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
