"""PyTorch on AMD GPUs, which it calls `cuda` too."""

from __future__ import annotations

from dataclasses import replace

import torch

from backends._shared.torch.backend import versions
from backends._shared.torch.gpu import GpuBackend, cuda_device
from harness.contract import Device, Unavailable
from harness.toolkit.hardware import amd_driver


class Backend(GpuBackend):
    """Implements `harness.contract.Backend`."""

    def find_device(self) -> Device:
        """The GPU, with its architecture (gfx942, ...), HIP and the driver."""
        if torch.version.hip is None:
            built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU"
            raise Unavailable(
                f"expected a torch for ROCm, found torch {torch.__version__}, built {built}.",
                "unset UV_FIND_LINKS and PIP_FIND_LINKS where they name another torch, and run "
                "`nox -s torch-rocm` again with uv, which knows where ROCm's wheels are.",
            )
        about = {**versions(), "hip": str(torch.version.hip)}
        device = cuda_device(self.device, amd_driver(), about)
        architecture = torch.cuda.get_device_properties(self.device).gcnArchName
        return replace(device, versions={**about, "architecture": str(architecture)})
