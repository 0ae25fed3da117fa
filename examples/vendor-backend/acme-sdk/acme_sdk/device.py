"""Devices of the ACME NPU on this machine: the emulator, unless a variable takes it away."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: Environment variable with the number of emulated devices.
VARIABLE = "ACME_DEVICES"


@dataclass(frozen=True)
class Device:
    """One device."""

    name: str
    driver: str
    memory_bytes: int


def devices() -> list[Device]:
    """The devices that the driver sees."""
    count = int(os.environ.get(VARIABLE, "1"))
    return [Device(f"ACME NPU 1 (emulator {index})", "2.7", 8 * 2**30) for index in range(count)]
