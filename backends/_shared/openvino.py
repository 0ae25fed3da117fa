"""OpenVINO itself, imported without its telemetry: what needs it imports it from here.

Importing OpenVINO's converter, and each conversion, sends an event over the network unless the user
has opted out. A conversion of a small model spends half of its CPU on that. Without the package
`openvino_telemetry` OpenVINO and NNCF take stubs of their own; that is what is arranged for here.
"""

from __future__ import annotations

import sys
from typing import Any, cast

if sys.modules.get("openvino_telemetry") is not None:
    raise ImportError(
        "expected OpenVINO to be imported by backends/_shared/openvino.py first, found that "
        "something else had imported it, with its telemetry. "
        "Fix: import it from backends._shared.openvino there"
    )
sys.modules["openvino_telemetry"] = cast(Any, None)  # its import fails from now on

import openvino as ov  # noqa: E402

__all__ = ["ov"]
