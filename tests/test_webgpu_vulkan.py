"""The Vulkan device that WebGPU runs on: a GPU, or SwiftShader in its place."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends._shared import vulkan
from backends._shared.vulkan import PhysicalDevice, chosen_device
from harness.contract import Unavailable

GPU = PhysicalDevice("Radeon", is_processor=False)
LAVAPIPE = PhysicalDevice("llvmpipe", is_processor=True)
IN_SOFTWARE = PhysicalDevice("SwiftShader", is_processor=True)


@pytest.fixture
def swiftshader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's file, which is there."""
    path = tmp_path / "vk_swiftshader_icd.json"
    path.touch()
    monkeypatch.setattr(vulkan, "SWIFTSHADER", path)
    return path


def drivers(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], *found: PhysicalDevice
) -> None:
    """Have Vulkan find devices, or SwiftShader alone once the environment names a driver."""

    def devices(loader: object) -> list[PhysicalDevice]:
        return [IN_SOFTWARE] if "VK_ICD_FILENAMES" in environ else list(found)

    monkeypatch.setattr(vulkan, "load", object)
    monkeypatch.setattr(vulkan, "physical_devices", devices)


@pytest.mark.parametrize("found", [(GPU,), (LAVAPIPE, GPU)])
def test_a_gpu_is_taken(
    monkeypatch: pytest.MonkeyPatch, swiftshader: Path, found: tuple[PhysicalDevice, ...]
) -> None:
    environ: dict[str, str] = {}
    drivers(monkeypatch, environ, *found)
    assert chosen_device(environ) == GPU
    assert environ == {}


@pytest.mark.parametrize("found", [(), (LAVAPIPE,)])
def test_swiftshader_stands_in(
    monkeypatch: pytest.MonkeyPatch, swiftshader: Path, found: tuple[PhysicalDevice, ...]
) -> None:
    environ: dict[str, str] = {}
    drivers(monkeypatch, environ, *found)
    assert chosen_device(environ) == IN_SOFTWARE
    assert environ == {"VK_ICD_FILENAMES": str(swiftshader)}


def test_drivers_that_the_user_has_named_stay(
    monkeypatch: pytest.MonkeyPatch, swiftshader: Path
) -> None:
    environ = {"VK_DRIVER_FILES": "/of/the/user.json"}
    drivers(monkeypatch, environ, LAVAPIPE)
    assert chosen_device(environ) == LAVAPIPE
    assert environ == {"VK_DRIVER_FILES": "/of/the/user.json"}


def test_no_device_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vulkan, "SWIFTSHADER", tmp_path / "nowhere.json")
    drivers(monkeypatch, {})
    with pytest.raises(Unavailable, match=r"finds none.*apt-get install chromium"):
        chosen_device({})


def test_no_loader_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vulkan, "LOADERS", (str(tmp_path / "libvulkan.so.1"),))
    with pytest.raises(Unavailable, match=r"apt-get install libvulkan1.*SwiftShader"):
        vulkan.load()


def fake_loader(error: int = 0) -> Any:
    """Fake Vulkan loader with a GPU and a processor, or an error in the place of an instance."""

    def enumerate_devices(instance: object, count: Any, handles: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint32))[0] = 2
        if handles is not None:
            handles[0], handles[1] = 1, 2
        return 0

    def describe(handle: ctypes.c_void_p, about: Any) -> None:
        said = ctypes.cast(about, ctypes.POINTER(vulkan._Properties))[0]
        said.kind, said.name = (2, b"Radeon") if handle.value == 1 else (4, b"llvmpipe")

    return SimpleNamespace(
        vkCreateInstance=lambda *arguments: error,
        vkEnumeratePhysicalDevices=enumerate_devices,
        vkGetPhysicalDeviceProperties=describe,
        vkDestroyInstance=lambda *arguments: None,
    )


def test_devices_are_asked_of_the_loader() -> None:
    assert vulkan.physical_devices(fake_loader()) == [GPU, LAVAPIPE]


def test_a_loader_without_drivers_has_no_devices() -> None:
    assert vulkan.physical_devices(fake_loader(error=-9)) == []
