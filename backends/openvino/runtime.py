"""OpenVINO itself, imported without its telemetry.

Importing OpenVINO's converter, and each conversion, sends an event over the network unless the user
has opted out. A conversion of a small model spends half of its CPU on that. Without the package
`openvino_telemetry` OpenVINO and NNCF take stubs of their own; that is what is arranged for here.
"""

from __future__ import annotations

import sys
from typing import Any, cast

sys.modules["openvino_telemetry"] = cast(Any, None)  # its import fails from now on

import openvino as ov  # noqa: E402

__all__ = ["ov"]
