"""Imports that the fork server makes once for all cells: exporter, its tables, ONNX Runtime."""

from __future__ import annotations

import logging

import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import torch

from backends._shared.onnx import export_speedups, verified_export  # noqa: F401
from backends._shared.onnx.tensor_module import quiet

# It warns that torchvision's operators are missing, which no model here needs.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


def _warm() -> None:
    """Export one layer: a process's first export imports much and reads tables."""
    with quiet():
        torch.onnx.export(
            torch.nn.Linear(1, 1).eval(), (torch.zeros(1, 1),), dynamo=True, verbose=False
        )


export_speedups.read_tables_once()
export_speedups.compare_operators_first()
_warm()
