"""Vulkan's physical devices on Linux, and SwiftShader, a GPU in software, where there is none.

WebGPU's native library, Dawn, runs on Vulkan here. It takes a GPU before a processor. The package
`chromium` of Debian and Ubuntu carries SwiftShader and a Vulkan loader; nothing else of the package
is used.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from harness.contract import Unavailable

CHROMIUM = Path("/usr/lib/chromium")
SWIFTSHADER = CHROMIUM / "vk_swiftshader_icd.json"
LOADERS = ("libvulkan.so.1", str(CHROMIUM / "libvulkan.so.1"))

#: The environment variables that tell Vulkan's loader which drivers there are.
DRIVERS = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")

GET_SWIFTSHADER = "`apt-get install chromium` brings SwiftShader, a GPU in software."

#: VkStructureType of a VkInstanceCreateInfo.
_INSTANCE_CREATE_INFO = 1
#: VkPhysicalDeviceType of a device that is a processor.
_CPU = 4
#: Bytes that are more than a VkPhysicalDeviceProperties has.
_PROPERTIES = 4096


class _InstanceCreateInfo(ctypes.Structure):
    """VkInstanceCreateInfo of Vulkan 1.0, without layers and extensions."""

    _fields_ = (
        ("structure_type", ctypes.c_int32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


class _Properties(ctypes.Structure):
    """The beginning of VkPhysicalDeviceProperties, and room for the rest."""

    _fields_ = (
        ("api", ctypes.c_uint32),
        ("driver", ctypes.c_uint32),
        ("vendor", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_char * _PROPERTIES),
    )


@dataclass(frozen=True, slots=True)
class PhysicalDevice:
    """A device as Vulkan's driver describes it.

    Attributes:
        name: as the driver gives it.
        is_processor: whether a processor computes in the place of a GPU.
    """

    name: str
    is_processor: bool


def chosen_device(environ: MutableMapping[str, str] = os.environ) -> PhysicalDevice:
    """The device that Dawn takes: a GPU, else SwiftShader, else what else there is.

    Names SwiftShader to Vulkan's loader where there is no GPU, unless the user has named drivers.

    Raises:
        Unavailable: there is no loader, or no device.
    """
    loader = load()
    devices = physical_devices(loader)
    named = any(environ.get(name) for name in DRIVERS)
    if not named and SWIFTSHADER.is_file() and all(each.is_processor for each in devices):
        environ[DRIVERS[1]] = str(SWIFTSHADER)
        devices = physical_devices(loader)
    if not devices:
        raise Unavailable(
            "expected a GPU with a Vulkan driver, or a driver in software; Vulkan's loader finds "
            "none.",
            f"install the GPU's Vulkan driver; without a GPU, {GET_SWIFTSHADER}",
        )
    return min(devices, key=lambda each: each.is_processor)


def load() -> ctypes.CDLL:
    """Vulkan's loader, in the process from then on: Dawn finds the loader by the library's name.

    Raises:
        Unavailable: there is none.
    """
    for name in LOADERS:
        try:
            return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    raise Unavailable(
        f"expected Vulkan's loader as {' or '.join(LOADERS)}, found neither.",
        f"`apt-get install libvulkan1`; without a GPU, {GET_SWIFTSHADER}",
    )


def physical_devices(loader: ctypes.CDLL) -> list[PhysicalDevice]:
    """The devices of all drivers that the loader finds; none where it finds no driver."""
    made = ctypes.c_void_p()
    wanted = _InstanceCreateInfo(structure_type=_INSTANCE_CREATE_INFO)
    if loader.vkCreateInstance(ctypes.byref(wanted), None, ctypes.byref(made)):
        return []
    count = ctypes.c_uint32()
    loader.vkEnumeratePhysicalDevices(made, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    loader.vkEnumeratePhysicalDevices(made, ctypes.byref(count), handles)
    found = []
    for handle in handles:
        about = _Properties()
        loader.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), ctypes.byref(about))
        found.append(PhysicalDevice(about.name.decode(errors="replace"), about.kind == _CPU))
    loader.vkDestroyInstance(made, None)
    return found
