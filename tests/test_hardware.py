"""Hardware facts from made-up system files, and how the backends are shown on that machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.catalog import backend_spec, backends
from harness.commands import devices
from harness.toolkit import hardware
from harness.toolkit.hardware import Part

FAKES = Path(__file__).resolve().parent / "fakes"


def write(root: Path, path: str, text: str = "") -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_an_empty_machine_has_a_processor_at_most(tmp_path: Path) -> None:
    assert [part.kind for part in hardware.inventory(tmp_path) if part.kind != "apple-gpu"] == [
        "cpu"
    ]


def test_nvidias_driver_names_its_gpus(tmp_path: Path) -> None:
    version = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\n"
        "GCC version:  gcc version 12.2.0\n"
    )
    write(tmp_path, "proc/driver/nvidia/version", version)
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        write(tmp_path, f"proc/driver/nvidia/gpus/{bus}/information", "Model: \t\t NVIDIA H200\n")
    assert hardware.nvidia(tmp_path) == [Part("nvidia-gpu", "NVIDIA H200", None, "580.82.07")] * 2


def test_an_older_drivers_version_too(tmp_path: Path) -> None:
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC\n"
    write(tmp_path, "proc/driver/nvidia/version", text)
    assert hardware.nvidia_driver(tmp_path) == "550.54.14"
    assert hardware.nvidia_driver(tmp_path / "none") == ""


def test_device_files_are_enough(tmp_path: Path) -> None:
    write(tmp_path, "dev/nvidia0")
    write(tmp_path, "dev/nvidiactl")
    assert hardware.nvidia(tmp_path) == [Part("nvidia-gpu", "NVIDIA GPU")]


def test_amds_gpus_are_told_from_its_processors(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    write(tmp_path, f"{nodes}/0/properties", "cpu_cores_count 16\nsimd_count 0\n")
    write(tmp_path, f"{nodes}/1/properties", "simd_count 1216\ngfx_target_version 90402\n")
    write(tmp_path, f"{nodes}/1/mem_banks/0/properties", "heap_type 1\nsize_in_bytes 1000000\n")
    write(tmp_path, f"{nodes}/2/properties", "simd_count 96\ngfx_target_version 110001\n")
    write(tmp_path, "sys/module/amdgpu/version", "6.12.12\n")
    assert hardware.amd(tmp_path) == [
        Part("amd-gpu", "AMD GPU gfx942", 1_000_000, "6.12.12"),
        Part("amd-gpu", "AMD GPU gfx1101", None, "6.12.12"),
    ]


def test_gfx90a_is_written_with_a_letter(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    write(tmp_path, f"{nodes}/1/properties", "simd_count 440\ngfx_target_version 90010\n")
    assert hardware.amd(tmp_path)[0].name == "AMD GPU gfx90a"


def test_other_gpus_accelerators_and_socs(tmp_path: Path) -> None:
    for node, vendor in (("drm/renderD128", "0x8086"), ("drm/renderD129", "0x10de")):
        write(tmp_path, f"sys/class/{node}/device/vendor", vendor + "\n")
        write(tmp_path, f"sys/class/{node}/device/device", "0x7d55\n")
        write(tmp_path, f"sys/class/{node}/device/uevent", "DRIVER=i915\nPCI_ID=8086:7D55\n")
    write(tmp_path, "sys/class/accel/accel0/device/vendor", "0x8086\n")
    write(tmp_path, "sys/class/accel/accel0/device/uevent", "DRIVER=intel_vpu\n")
    write(tmp_path, "sys/bus/soc/devices/soc0/family", "Snapdragon\n")
    write(tmp_path, "sys/bus/soc/devices/soc0/machine", "SA8295P\n")
    assert hardware.rendering(tmp_path) == [Part("gpu", "Intel 0x7d55", driver="i915")]
    assert hardware.accelerators(tmp_path) == [
        Part("accelerator", "Intel accel0", None, "intel_vpu")
    ]
    assert hardware.socs(tmp_path) == [Part("soc", "Snapdragon SA8295P")]


def test_a_tool_that_is_missing_or_fails_says_nothing() -> None:
    assert hardware._said("no-such-tool-anywhere") == ""
    assert hardware._said("false") == ""


PARTS = (Part("cpu", "A CPU", 8_000_000_000), Part("fake-gpu", "A fake", 2_000_000_000, "1.2"))


def specs() -> list[backend_spec.BackendSpec]:
    found = backends.discover(FAKES)
    return [found["good"], found["no-gpu"]]


def test_the_table_says_what_is_missing_and_how_to_get_it() -> None:
    text = devices.table(devices.rows(specs(), PARTS))
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["good", "yes", "A", "CPU", "8.00", "GB"]
    assert lines[2] == ["no-gpu", "no"]
    assert "no-gpu: A fake GPU that no machine has needs a fake GPU" in text
    assert text.endswith("Fix: make one")


def test_parts_of_its_kinds_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_spec.Hardware, "present", lambda self: True)
    (row,) = devices.rows(specs()[1:], [*PARTS, PARTS[1]])
    assert row.present
    assert row.parts == (PARTS[1], PARTS[1])
    assert devices.table([row]).count("A fake") == 2


def test_scripts_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    devices.add_arguments(parser)
    assert devices.main(parser.parse_args(["--json", f"--backends-dir={FAKES}"])) == 0
    found = {row["backend"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["good"]["present"]
    assert found["no-gpu"]["fix"] == "make one"
