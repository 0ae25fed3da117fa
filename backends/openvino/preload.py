"""What the fork server imports, so that no child pays for it again; it opens no device."""

from __future__ import annotations

import openvino.frontend.pytorch.ts_decoder
import openvino.tools.ovc.convert_impl  # noqa: F401

from backends.openvino import backend

__all__ = ["backend"]
