"""OpenVINO's devices: the one that a session wants, its presence, and its precisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.contract import Device, HarnessError, Precision, Unavailable

#: Virtual devices: they spread work over the others.
VIRTUAL = ("AUTO", "HETERO", "MULTI", "BATCH")
#: Devices that OpenVINO has a plug-in for, and what each needs beside it.
NEEDS: Mapping[str, str] = {
    "CPU": "the wheel `openvino` for this platform",
    "GPU": "Intel's compute runtime (libOpenCL.so.1, intel-opencl-icd) and access to /dev/dri",
    "NPU": "Intel's NPU driver (intel-driver-compiler-npu, level-zero) and access to /dev/accel",
}
#: The numpy-style names of OpenVINO's element types.
DTYPES: Mapping[str, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
#: Which capability says that a device computes in a type.
CAPABILITIES: Mapping[str, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


@dataclass(frozen=True)
class Target:
    """Target of `--device`: a device, or a virtual one (`AUTO`, `HETERO`) over a list of them.

    Attributes:
        core: OpenVINO's door to its plug-ins.
        name: as OpenVINO takes it: `CPU`, `GPU.1`, `AUTO:NPU,CPU`, `HETERO:GPU,CPU`.
        devices: the devices behind it, the wanted one first.
    """

    core: Any
    name: str
    devices: tuple[str, ...]

    @property
    def virtual(self) -> str:
        """The virtual device, such as `AUTO` or `HETERO`; empty for a device itself."""
        head = self.name.partition(":")[0]
        return head if head in VIRTUAL else ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Where the work must run: the first device named, or any of them under a plain `AUTO`."""
        return self.devices[:1] if self.virtual != "AUTO" or ":" in self.name else self.devices

    def read(self, name: str, default: Any = None) -> Any:
        """A property of the wanted device; the default where its plug-in has none of that name."""
        if name not in self._supported:
            return default
        return self.core.get_property(self.devices[0], name)

    @cached_property
    def _supported(self) -> frozenset[str]:
        return frozenset(self.core.get_property(self.devices[0], "SUPPORTED_PROPERTIES"))

    def _capabilities(self) -> list[str]:
        return sorted(self.read("OPTIMIZATION_CAPABILITIES", ()))

    @property
    def exports(self) -> bool:
        """Whether a compiled model can be stored."""
        return not self.virtual and "EXPORT_IMPORT" in self._capabilities()

    def about(self) -> dict[str, str]:
        """The part of a cache key that names a compiled model's target: device, driver, kernels."""
        said = (
            "FULL_DEVICE_NAME",
            "DEVICE_ARCHITECTURE",
            "NPU_DRIVER_VERSION",
            "GPU_UARCH_VERSION",
        )
        found = {name: str(self.read(name, "")) for name in said}
        return {**found, "name": self.name, "capabilities": str(self._capabilities())}

    def support(self, model: Any, ran: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many operations of each type `query_model` puts on each device.

        Operations on no device stand under an empty name.

        Args:
            model: an `ov.Model`.
            ran: the devices that execute it. Of the virtual ones only HETERO splits a model, and
                can be asked itself.
        """
        asked = self.name if self.virtual == "HETERO" else ran[0]
        placed: Mapping[str, str] = self.core.query_model(model, asked)
        counts: dict[str, Counter[str]] = {}
        for operation in model.get_ops():
            device = placed.get(operation.get_friendly_name(), "")
            counts.setdefault(device, Counter())[operation.get_type_name()] += 1
        return {device: dict(counter) for device, counter in counts.items()}

    def described(self, versions: Mapping[str, str]) -> Device:
        """The device as its plug-in names it.

        Args:
            versions: of the packages that convert and compute.
        """
        memory = self.read("GPU_DEVICE_TOTAL_MEM_SIZE")
        name = self.read("FULL_DEVICE_NAME", self.devices[0])
        return Device(
            name=name if self.name == self.devices[0] else f"{name} through {self.name}",
            kind=self.devices[0].partition(".")[0].lower(),
            versions=versions,
            driver=str(self.read("NPU_DRIVER_VERSION", "")),
            memory_bytes=int(memory) if memory else None,
        )

    def precisions(self) -> tuple[Precision, ...]:
        """Precisions of the device; the first is the one that a user gets without asking."""
        hint = self.read("INFERENCE_PRECISION_HINT")
        default = DTYPES.get(hint.get_type_name() if hint is not None else "", "float32")
        able = self._capabilities()
        own = [Precision(n, DTYPES[n]) for n, said in CAPABILITIES.items() if said in able]
        return Precision("default", default), *own, *COMPRESSED

    def hints(self, precision: Precision) -> dict[str, Any]:
        """The properties that make the device compute in a precision."""
        if precision.name not in CAPABILITIES:
            return {}
        hints = {"INFERENCE_PRECISION_HINT": precision.name}
        if "KV_CACHE_PRECISION" in self._supported and not self.virtual:
            # It has a default of its own: f16 on a CPU.
            hints["KV_CACHE_PRECISION"] = precision.name
        return hints


#: Weights compressed by NNCF; the device computes as by default.
COMPRESSED = (Precision("int8", "int8"), Precision("int4", "int4"))


def target(asked: str, core: Any) -> Target:
    """The device that the session asked for.

    Args:
        asked: what `--device` says; empty for the CPU.
        core: an `ov.Core`, or what answers like one.

    Raises:
        HarnessError: OpenVINO has no device of that name.
        Unavailable: it has, and this machine doesn't.
    """
    name = (asked or "CPU").upper()
    head, _, rest = name.partition(":")
    available = tuple(core.available_devices)
    listed = [word.strip() for word in rest.split(",") if word.strip()]
    devices = tuple(listed) if head in VIRTUAL and listed else (name,)
    if name == "AUTO":
        devices = available
    elif head in VIRTUAL and not listed:
        raise HarnessError(
            f"expected devices behind {head}, as in {head}:GPU,CPU, found --device {asked}. "
            f"Fix: name some of {', '.join(available) or 'none'}"
        )
    for device in devices:
        _check(device, available)
    return Target(core, name, devices)


def _check(device: str, available: Sequence[str]) -> None:
    kind = device.partition(".")[0]
    if kind not in NEEDS:
        raise HarnessError(
            f"expected --device to be one of {', '.join(NEEDS)}, AUTO, AUTO:A,B or HETERO:A,B, "
            f"found {device!r}. Fix: name one of those that are here: {', '.join(available)}"
        )
    # `GPU` means `GPU.0` where there are several.
    if device not in available and f"{device}.0" not in available:
        raise Unavailable(
            f"OpenVINO finds the devices {', '.join(available) or 'none'} on this machine, and "
            f"{device} is not among them.",
            f"install {NEEDS[kind]}, or name another --device.",
        )
