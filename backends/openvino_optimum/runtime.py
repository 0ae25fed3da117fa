"""OpenVINO and optimum-intel, imported without OpenVINO's telemetry.

Importing OpenVINO's converter, and each conversion, sends an event over the network unless the user
has opted out, which costs a good part of a small model's conversion. Without the package
`openvino_telemetry`, OpenVINO and NNCF take stubs of their own; that is arranged for here.
"""

from __future__ import annotations

import sys
from typing import Any, cast

sys.modules["openvino_telemetry"] = cast(Any, None)  # its import fails from now on

import openvino as ov  # noqa: E402
import optimum.exporters.openvino.model_configs  # noqa: E402,F401  (fills optimum's registry)
import optimum.intel as optimum_intel  # noqa: E402
from optimum.exporters.openvino import main_export  # noqa: E402
from optimum.exporters.tasks import TasksManager  # noqa: E402
from optimum.intel.pipelines.accelerator_utils import get_openvino_model_class  # noqa: E402

__all__ = ["TasksManager", "get_openvino_model_class", "main_export", "optimum_intel", "ov"]
