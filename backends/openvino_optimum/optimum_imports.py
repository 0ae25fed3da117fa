"""optimum-intel's functions and classes, imported once OpenVINO's telemetry is out of the way."""

from __future__ import annotations

from backends._shared.openvino_without_telemetry import ov  # first: it leaves telemetry out

# isort: split
import optimum.exporters.openvino.model_configs  # noqa: F401  (fills optimum's registry)
import optimum.intel as optimum_intel
from optimum.exporters.openvino import main_export
from optimum.exporters.tasks import TasksManager
from optimum.intel.pipelines.accelerator_utils import get_openvino_model_class

__all__ = ["TasksManager", "get_openvino_model_class", "main_export", "optimum_intel", "ov"]
