"""Hardware facts of this machine, from the system's own files: no SDK is imported or asked.

Linux keeps drivers' facts in /proc and /sys; macOS has sysctl, Windows its registry. What a
system does not say is left empty, never guessed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
#: PCI vendors of what may be a GPU or an accelerator.
VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x17cb": "Qualcomm"}
#: Seconds that a tool may take to answer.
PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Part:
    """One processor, GPU or accelerator."""

    kind: str  # cpu | nvidia-gpu | amd-gpu | apple-gpu | gpu | accelerator | soc
    name: str
    memory_bytes: int | None = None
    driver: str = ""


def inventory(root: Path = ROOT) -> list[Part]:
    """Everything of this machine that a backend may compute on.

    Args:
        root: of the file system; another one in tests.
    """
    found = [cpu(root), *nvidia(root), *amd(root), *apple(), *rendering(root), *accelerators(root)]
    return [*found, *socs(root)]


def cpu(root: Path = ROOT) -> Part:
    """The processor, and the machine's memory."""
    brand = ""
    if sys.platform == "darwin" and root == ROOT:
        brand = _said("sysctl", "-n", "machdep.cpu.brand_string")
    return Part("cpu", brand or processor_name(root), _main_memory(root))


def processor_name(root: Path = ROOT) -> str:
    """The processor's model name, as Linux or else Python's `platform` tells it.

    Args:
        root: of the file system; another one in tests.
    """
    model = _after(_text(root / "proc/cpuinfo"), r"model name\s*:")
    return model or platform.processor() or platform.machine()


def nvidia(root: Path = ROOT) -> list[Part]:
    """NVIDIA's GPUs: with `nvidia-smi` their memory too, without it what the driver says."""
    driver = nvidia_driver(root)
    if root == ROOT:
        fields = "--query-gpu=name,memory.total,driver_version"
        listed = _said("nvidia-smi", fields, "--format=csv,noheader,nounits")
        rows = [line.split(", ") for line in listed.splitlines()]
        smi = [
            Part("nvidia-gpu", name, int(mib) * 2**20 if mib.isdigit() else None, version)
            for name, mib, version in (row for row in rows if len(row) == 3)
        ]
        if smi:
            return smi
    names = [
        _after(_text(path), "Model:")
        for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    ]
    if not names:
        names = ["" for _ in (root / "dev").glob("nvidia[0-9]*")]
    return [Part("nvidia-gpu", name or "NVIDIA GPU", driver=driver) for name in names]


def nvidia_driver(root: Path = ROOT) -> str:
    """The version of NVIDIA's kernel driver; empty where it is not loaded."""
    said = re.search(
        r"Kernel Module.*?\s(\d+\.\d+[\d.]*)", _text(root / "proc/driver/nvidia/version")
    )
    return said[1] if said else ""


def amd(root: Path = ROOT) -> list[Part]:
    """AMD's GPUs that ROCm's kernel driver offers, as gfx942; its CPUs are nodes there too."""
    parts = []
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*")):
        facts = dict(re.findall(r"^(\w+) (\d+)$", _text(node / "properties"), re.MULTILINE))
        if not int(facts.get("simd_count", 0)):
            continue
        version = int(facts.get("gfx_target_version", 0))
        gfx = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
        sizes = [
            re.search(r"^size_in_bytes (\d+)$", _text(bank), re.MULTILINE)
            for bank in node.glob("mem_banks/*/properties")
        ]
        memory = sum(int(size[1]) for size in sizes if size) or None
        name = " ".join(filter(None, ["AMD GPU", gfx if version else "", _text(node / "name")]))
        parts.append(Part("amd-gpu", name.strip(), memory, amd_driver(root)))
    return parts


def amd_driver(root: Path = ROOT) -> str:
    """The version of AMD's kernel driver: its own, or the kernel's, whose part it then is."""
    if not (root / "sys/module/amdgpu").exists():
        return ""
    return _text(root / "sys/module/amdgpu/version") or f"Linux {platform.release()}"


def apple() -> list[Part]:
    """The GPU of an Apple processor, which shares the machine's memory."""
    if (sys.platform, platform.machine()) != ("darwin", "arm64"):
        return []
    name = _said("sysctl", "-n", "machdep.cpu.brand_string")
    return [Part("apple-gpu", name, _main_memory(ROOT), f"macOS {platform.mac_ver()[0]}")]


def rendering(root: Path = ROOT) -> list[Part]:
    """GPUs with a render node in /dev/dri, but NVIDIA's and AMD's, which are found elsewhere."""
    nodes = sorted((root / "sys/class/drm").glob("renderD*"))
    own = {"NVIDIA", "AMD"}
    return [part for part in _pci("gpu", nodes) if part.name.split(" ")[0] not in own]


def accelerators(root: Path = ROOT) -> list[Part]:
    """Neural processors with a node in /dev/accel."""
    return list(_pci("accelerator", sorted((root / "sys/class/accel").glob("accel*"))))


def socs(root: Path = ROOT) -> list[Part]:
    """The system on a chip: from Linux's soc bus or device tree, or from Windows' registry."""
    names = [
        " ".join(filter(None, (_text(soc / fact) for fact in ("family", "machine", "soc_id"))))
        for soc in sorted((root / "sys/bus/soc/devices").glob("soc*"))
    ]
    names += [_text(root / "proc/device-tree/model").rstrip("\0")]
    if sys.platform == "win32" and root == ROOT:
        names.append(_registered_processor())
    return [Part("soc", name) for name in dict.fromkeys(filter(None, names))]


def _pci(kind: str, nodes: Iterable[Path]) -> Iterator[Part]:
    for node in nodes:
        vendor, device = (_text(node / "device" / fact) for fact in ("vendor", "device"))
        name = f"{VENDORS.get(vendor, vendor or 'unnamed')} {device or node.name}"
        driver = _after(_text(node / "device/uevent"), "DRIVER=")
        yield Part(kind, name, driver=driver)


def _main_memory(root: Path) -> int | None:
    said = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if said:
        return int(said[1]) * 1024
    size = _said("sysctl", "-n", "hw.memsize") if sys.platform == "darwin" else ""
    return int(size) if size.isdigit() else None


def _registered_processor() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return str(winreg.QueryValueEx(opened, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""


def _after(text: str, label: str) -> str:
    """The rest of the first line that begins with a label, a pattern."""
    found = re.search(rf"^{label}(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _said(*command: str) -> str:
    """The output of a tool; empty where the tool is not there, fails, or does not answer."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
