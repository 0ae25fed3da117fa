"""The module `openvino`, imported so that its telemetry stays out; backends import it from here.

Importing OpenVINO's converter, and each conversion, sends an event over the network unless the user
has opted out: half of the CPU of a small model's conversion. Without the package
`openvino_telemetry` OpenVINO and NNCF use stubs of their own, so its import is made to fail.
"""

from __future__ import annotations

import sys
from typing import Any, cast

if sys.modules.get("openvino_telemetry") is not None:
    raise ImportError(
        "expected OpenVINO to be imported by backends/_shared/openvino_without_telemetry.py "
        "first, found that something else had imported it, with its telemetry. "
        "Fix: import it from backends._shared.openvino_without_telemetry there"
    )
sys.modules["openvino_telemetry"] = cast(Any, None)  # its import fails from now on

import openvino as ov  # noqa: E402

__all__ = ["ov"]
