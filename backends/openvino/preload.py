"""Preloading for the fork server: the imports of a conversion; no device is opened."""

from __future__ import annotations

# isort: split
from backends.openvino import backend  # first: it leaves telemetry out

# isort: split
import openvino.frontend.pytorch.ts_decoder
import openvino.tools.ovc.convert_impl  # noqa: F401

__all__ = ["backend"]
