"""Energy, clock and other processes of a GPU, as NVML or AMD SMI tells them.

Both libraries come with drivers or in packages of their own (`nvidia-ml-py`, `amdsmi`); without
them, or where they refuse, nothing is known.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from harness.contract import MeterReading

#: Millijoules in a joule, as NVML counts; microjoules, as AMD SMI does.
MILLI, MICRO = 1e3, 1e6


def nvidia(index: int) -> MeterReading | None:
    """The state of an NVIDIA GPU, by its number in NVML; None where NVML is not there.

    Args:
        index: of the device among all of the machine, whatever `CUDA_VISIBLE_DEVICES` says.
    """
    nvml = _module("pynvml")
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        others = [
            process
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(device)
            if process.pid != os.getpid()
        ]
        return MeterReading(
            _number(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(device) / MILLI),
            _number(lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
            len(others),
        )
    except Exception:  # NVMLError: a driver that is missing, or refuses
        return None


def amd(index: int) -> MeterReading | None:
    """The state of an AMD GPU, by its number in AMD SMI; None where AMD SMI is not there."""
    smi = _module("amdsmi")
    if smi is None:
        return None
    try:
        smi.amdsmi_init()
        device = smi.amdsmi_get_processor_handles()[index]
        return MeterReading(
            _number(lambda: _amd_energy(smi.amdsmi_get_energy_count(device))),
            _number(
                lambda: smi.amdsmi_get_clock_info(device, smi.AmdSmiClkType.GFX)["clk"],
            ),
            sum(
                process["pid"] != os.getpid() for process in smi.amdsmi_get_gpu_process_list(device)
            ),
        )
    except Exception:  # AmdSmiException: a driver that is missing, or refuses
        return None


def _amd_energy(counted: Any) -> float:
    """Joules of AMD SMI's counter, which counts steps of some microjoules each."""
    return float(counted["energy_accumulator"] * counted["counter_resolution"]) / MICRO


def _number(read: Any) -> float | None:
    """A number, or None where this device does not tell it."""
    try:
        return float(read())
    except Exception:  # NVMLError_NotSupported and its like
        return None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None
