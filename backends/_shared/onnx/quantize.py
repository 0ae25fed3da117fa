"""Quantised ONNX graphs, made by ONNX Runtime's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnxruntime import quantization
from onnxruntime.quantization.execution_providers.qnn import (
    get_qnn_qdq_config,
    qnn_preprocess_model,
)

from harness.contract import Arrays, Case

#: How many examples give the ranges of activations.
SAMPLES = 8


class CalibrationExamples(quantization.CalibrationDataReader):
    """A calibration data reader over example inputs."""

    def __init__(self, examples: Sequence[Arrays]) -> None:
        self.examples = examples
        self.rewind()

    def get_next(self) -> Arrays | None:
        """The next example; None at the end."""
        return next(self._rest, None)

    def rewind(self) -> None:
        """Begin again with the first example."""
        self._rest: Iterator[Arrays] = iter(self.examples)


def dynamic_int8(model: bytes) -> bytes:
    """The graph with int8 weights and activations quantised at run time (`quantize_dynamic`)."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "model.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(model)
        quantization.quantize_dynamic(source, made, weight_type=quantization.QuantType.QInt8)
        return made.read_bytes()


def qdq(model: bytes, case: Case, bits: int) -> bytes:
    """The graph with QuantizeLinear-DequantizeLinear pairs (QDQ), as QNN takes it; uint8 weights.

    Args:
        model: the float32 graph.
        case: gives the examples that calibrate the ranges of activations (minima and maxima).
        bits: of activations, 8 or 16, unsigned.
    """
    kinds = {8: quantization.QuantType.QUInt8, 16: quantization.QuantType.QUInt16}
    wanted = {value.name for value in onnx.load_from_string(model).graph.input}
    examples = [
        {name: array for name, array in case.inputs(f"calibration-{i}").items() if name in wanted}
        for i in range(SAMPLES)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, plain = Path(folder, "model.onnx"), Path(folder, "plain.onnx")
        made = Path(folder, "qdq.onnx")
        source.write_bytes(model)
        changed = qnn_preprocess_model(source, plain)
        plain = plain if changed else source
        config = get_qnn_qdq_config(
            plain,
            CalibrationExamples(examples),
            activation_type=kinds[bits],
            weight_type=quantization.QuantType.QUInt8,
        )
        quantization.quantize(plain, made, config)
        return made.read_bytes()
