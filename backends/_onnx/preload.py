"""What the fork server imports once: the exporter with its tables, and ONNX Runtime."""

from __future__ import annotations

import functools
import logging

import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import torch
from torch.onnx._internal.exporter import _registration

from backends._onnx import exported  # noqa: F401
from backends._onnx.trace import quiet

# Of torchvision's operators, which nothing here has.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


def _read_translations_once() -> None:
    """Let every export use the table of the first one.

    PyTorch parses the source of each of torchlib's 500 translations anew for each export, which
    is a quarter of the time of a small model's. Nothing here changes the table.
    """
    registry = _registration.ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


def _warm() -> None:
    """The first export of a process imports much and reads tables."""
    with quiet():
        torch.onnx.export(
            torch.nn.Linear(1, 1).eval(), (torch.zeros(1, 1),), dynamo=True, verbose=False
        )


_read_translations_once()
_warm()
