"""ONNX graphs in float16, made by ONNX Runtime's own converter."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from backends._shared.onnx.verified_export import Exported


def halved(made: Exported) -> Exported:
    """The graph with weights and arithmetic in float16; its inputs and outputs stay float32."""
    model = convert_float_to_float16(onnx.load_from_string(made.model), keep_io_types=True)
    return replace(made, model=model.SerializeToString())
