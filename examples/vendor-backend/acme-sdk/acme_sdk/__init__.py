"""SDK of the ACME NPU, an accelerator that does not exist: compiler and runtime of its emulator."""

from acme_sdk.compiler import UnsupportedOperator, compile_program
from acme_sdk.device import Device, devices
from acme_sdk.runtime import Executable, Report

__version__ = "1.4.0"
__all__ = [
    "Device",
    "Executable",
    "Report",
    "UnsupportedOperator",
    "__version__",
    "compile_program",
    "devices",
]
