"""PyTorch on any accelerator: one that PyTorch has, or one that an imported module registers."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

from backends._shared.torch.backend import versions
from backends._shared.torch.gpu import GpuBackend, GpuProgram, indexed
from harness.contract import Device, HarnessError, Unavailable

#: PyTorch's name of an accelerator that no module has named yet.
UNNAMED = "privateuseone"

#: Kinds of devices that are no accelerators.
NONE = ("cpu", "meta")


class DeviceProgram(GpuProgram):
    """A module on an accelerator, with proof of placement by a dispatch mode.

    PyTorch's profiler is proof too, where the accelerator has registered one with the profiler.
    """

    def kernels(self) -> Counter[str] | None:
        """The kernels of one inference by name; None where the profiler knows of none."""
        return super().kernels() or None


class Backend(GpuBackend):
    """Implements `harness.contract.Backend`."""

    program = DeviceProgram

    def __init__(self, options: Mapping[str, str]) -> None:
        register(options.get("import", ""))
        self.kind = kind_of(options.get("device", ""))
        super().__init__(options)

    def find_device(self) -> Device:
        """The accelerator, as the module that PyTorch has for it describes it."""
        module = device_module(self.kind)
        count = module.device_count() if module is not None and module.is_available() else 0
        index = self.device.index or 0
        if module is None or index >= count:
            raise Unavailable(
                f"torch {torch.__version__} expected {self.device}, found "
                f"{count or 'no'} devices of that kind.",
                "name the accelerator by --device (xpu, hpu, ...), and by --import the module that "
                "registers it, installed into the session's environment.",
            )
        about = said(module, "get_device_properties", index)
        memory = getattr(about, "total_memory", None)
        return Device(
            name=str(said(module, "get_device_name", index) or self.kind),
            kind="gpu",
            versions={**versions(), **self._version()},
            driver=str(said(module, "get_driver_version") or ""),
            memory_bytes=None if memory is None else int(memory),
            units=indexed(self.kind, count) if self.device.index is None else (),
        )

    @property
    def memory(self) -> Callable[[], int] | None:
        """The reader of device memory; None where the accelerator's module has none."""
        module = device_module(self.kind)
        return super().memory if hasattr(module, "max_memory_allocated") else None

    def allocated_bytes(self) -> int:
        """Peak device memory of this cell, in bytes, by the accelerator's allocator."""
        module: Any = device_module(self.kind)
        return int(module.max_memory_allocated(self.device))

    def release_memory(self) -> None:
        """Give unused device memory back, and reset the allocator's peak."""
        module = device_module(self.kind)
        if module is not None and said(module, "is_initialized"):
            said(module, "empty_cache")
            said(module, "reset_peak_memory_stats")

    def _version(self) -> dict[str, str]:
        name = self.options.get("import", "")
        found = getattr(importlib.import_module(name), "__version__", "") if name else ""
        return {name: str(found)} if found else {}


def register(name: str) -> None:
    """Import the module that registers an accelerator; none where the name is empty.

    Raises:
        HarnessError: it cannot be imported.
    """
    if not name:
        return
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise HarnessError(
            f"expected --import to name a module that registers an accelerator, found {name}: "
            f"{error}. Fix: install it with `.nox/torch-device/bin/python -m pip install`, or name "
            "another one"
        ) from error


def kind_of(name: str) -> str:
    """The kind of accelerator that a session names, else the one that PyTorch has.

    Args:
        name: as `--device` takes it, `xpu` or `xpu:1`; may be empty.

    Raises:
        HarnessError: PyTorch knows no accelerator of that name.
    """
    if not name:
        found = torch.accelerator.current_accelerator()
        return UNNAMED if found is None else str(found.type)
    try:
        kind = str(torch.device(name).type)
    except RuntimeError as error:
        kind, name = NONE[0], f"{name} ({error})"
    if kind in NONE:
        raise HarnessError(
            f"expected --device to name an accelerator of PyTorch, as xpu or xpu:1, found {name}. "
            "Fix: name one, with --import for the module that registers it"
        )
    return kind


def device_module(kind: str) -> Any:
    """The module that PyTorch has for a kind of device, as `torch.xpu`; None for none."""
    return getattr(torch, kind, None)


def said(module: Any, name: str, *arguments: Any) -> Any:
    """The answer of a function that a device's module may have; None where it has not."""
    function = getattr(module, name, None)
    return None if function is None else function(*arguments)
