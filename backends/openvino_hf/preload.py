"""Preloading for the fork server: transformers' exporter and OpenVINO's frontend; no device."""

from __future__ import annotations

# isort: split
from backends.openvino_hf import backend  # first: it leaves telemetry out

# isort: split
import transformers.exporters.runners.runner_openvino  # noqa: F401

__all__ = ["backend"]
