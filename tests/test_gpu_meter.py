"""Readings of GPUs, from libraries that are made up: none of the real ones is here."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from harness.contract import MeterReading
from harness.toolkit import gpu_meter


def refuse(*_: Any) -> Any:
    raise RuntimeError("not supported")


def processes(*pids: int) -> list[Any]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def nvml(**changes: Any) -> Any:
    return SimpleNamespace(**{
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetTotalEnergyConsumption": lambda device: 2500,
        "nvmlDeviceGetClockInfo": lambda device, clock: 1980,
        "nvmlDeviceGetComputeRunningProcesses": lambda device: processes(os.getpid(), 7),
    } | changes)  # fmt: skip


def test_nvml_tells_joules_clock_and_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert gpu_meter.nvidia(0) == MeterReading(2.5, 1980.0, 1)


def test_a_gpu_that_does_not_count_energy_still_tells_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = nvml(nvmlDeviceGetTotalEnergyConsumption=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", silent)
    assert gpu_meter.nvidia(0) == MeterReading(None, 1980.0, 1)


def test_without_library_or_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert gpu_meter.nvidia(0) is None
    assert gpu_meter.amd(0) is None
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=refuse))
    assert gpu_meter.nvidia(0) is None


def test_amd_smi_counts_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    smi = SimpleNamespace(
        AmdSmiClkType=SimpleNamespace(GFX=0),
        amdsmi_init=lambda: None,
        amdsmi_get_processor_handles=lambda: ["first", "second"],
        amdsmi_get_energy_count=lambda device: {
            "energy_accumulator": 200_000,
            "counter_resolution": 15.3,
        },
        amdsmi_get_clock_info=lambda device, kind: {"clk": 2100},
        amdsmi_get_gpu_process_list=lambda device: [{"pid": os.getpid()}],
    )
    monkeypatch.setitem(sys.modules, "amdsmi", smi)
    found = gpu_meter.amd(1)
    assert found is not None
    assert found.joules == pytest.approx(3.06)
    assert (found.clock_mhz, found.others) == (2100.0, 0)
    assert gpu_meter.amd(2) is None
