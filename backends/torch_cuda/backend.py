"""PyTorch on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from backends._shared.torch.backend import Mode, versions
from backends._shared.torch.gpu import GpuBackend, cuda_device
from harness.contract import Device, Precision, Unavailable
from harness.toolkit.hardware import nvidia_driver

#: Whether products and convolutions of float32 may use TF32, as PyTorch has it: no, and yes.
AS_INSTALLED = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


class Backend(GpuBackend):
    """Implements `harness.contract.Backend`."""

    # As installed, PyTorch lets convolutions use TF32, and products not.
    precisions: Sequence[Precision] = (
        Precision("default", "conv-tfloat32"),
        Precision("f32", "float32"),
        Precision("tf32", "tfloat32"),
        *GpuBackend.precisions[2:],
    )

    def set_global_flags(self, mode: Mode) -> None:
        """Switch TF32 on or off, for products and for convolutions."""
        chosen = AS_INSTALLED if mode.tf32 is None else (mode.tf32, mode.tf32)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = chosen

    def find_device(self) -> Device:
        """The GPU, with its compute capability, CUDA, cuDNN and the driver."""
        if torch.version.cuda is None:
            built = "for ROCm" if torch.version.hip else "without CUDA"
            raise Unavailable(
                f"expected a torch for CUDA, found torch {torch.__version__}, built {built}.",
                "unset UV_FIND_LINKS, PIP_FIND_LINKS and UV_TORCH_BACKEND where they name another "
                "torch, and run `nox -s torch-cuda` again.",
            )
        device = cuda_device(self.device, nvidia_driver(), {**versions(), **_runtime()})
        major, minor = torch.cuda.get_device_capability(self.device)
        about = {**device.versions, "capability": f"{major}.{minor}"}
        return replace(device, versions=about)


def _runtime() -> dict[str, str]:
    return {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
