"""What the fork server imports once: the exporter with its tables, and ONNX Runtime."""

from __future__ import annotations

import logging

import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import torch

from backends._shared.onnx import export_speedups, verified_export  # noqa: F401
from backends._shared.onnx.trace import quiet

# Of torchvision's operators, which nothing here has.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


def _warm() -> None:
    """The first export of a process imports much and reads tables."""
    with quiet():
        torch.onnx.export(
            torch.nn.Linear(1, 1).eval(), (torch.zeros(1, 1),), dynamo=True, verbose=False
        )


export_speedups.read_tables_once()
export_speedups.match_first_nodes_first()
_warm()
