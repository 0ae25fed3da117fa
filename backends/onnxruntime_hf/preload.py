"""Preloading for the fork server: transformers' exporter, and what `torch.onnx` and ours share."""

from __future__ import annotations

import transformers.exporters.exporter_onnx
import transformers.exporters.runners.runner_onnx  # noqa: F401

from backends._shared.onnx import preload

__all__ = ["preload"]
