"""PyTorch on the GPUs of Apple's own processors, through Metal Performance Shaders."""

from __future__ import annotations

import platform

import torch

from backends._shared.torch.backend import versions
from backends._shared.torch.gpu import GpuBackend
from harness.contract import Device, Unavailable


class Backend(GpuBackend):
    """Implements `harness.contract.Backend`."""

    kind = "mps"

    def find_device(self) -> Device:
        """The GPU, with macOS, whose part the driver is."""
        if not torch.backends.mps.is_available():
            why = "was built without MPS" if not torch.backends.mps.is_built() else "finds no MPS"
            raise Unavailable(
                f"expected an Apple GPU, found {platform.platform()}, where torch "
                f"{torch.__version__} {why}.",
                "run it on an Apple processor under macOS 14 or newer.",
            )
        return Device(
            name=torch.backends.mps.get_name(),
            kind="gpu",
            versions=versions(),
            driver=f"macOS {platform.mac_ver()[0]}",
            memory_bytes=int(torch.mps.recommended_max_memory()),
        )

    def allocated_bytes(self) -> int:
        """Device memory of this process in bytes, as it stands now: Metal keeps no peak."""
        return int(torch.mps.driver_allocated_memory())

    def release_memory(self) -> None:
        """Give unused device memory back."""
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
