"""Base backend of PyTorch's GPUs: finding one, spreading over several, and placement."""

from __future__ import annotations

import gc
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backends._shared.torch.backend import CpuBackend, Mode, TorchBackend, TorchProgram, tensors_in
from harness.contract import Device, HarnessError, MeterReading, Placement, Unavailable
from harness.toolkit import gpu_meter

#: The stand-in for a missing device.
CPU = torch.device("cpu")
#: How PyTorch says that an operator goes to the CPU (MPS, with its fallback switched on).
_FALLS_BACK = re.compile(r"The operator '(?P<op>[\w:.]+)'.* fall back to run on the CPU", re.DOTALL)


class ComputedValues(TorchDispatchMode):
    """TorchDispatchMode that counts the floating values that operators compute, by kind of device.

    Integers are left out, since the bookkeeping of shapes and positions belongs on the host, and so
    are constants that nothing is computed from yet, and what is only moved or looked at: RAG takes
    its query to the host, where the documents are searched.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: Counter[str] = Counter()
        self.operators: dict[str, Counter[str]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operator and count what it made."""
        made = function(*args, **(kwargs or {}))
        given = tensors_in(args)
        constant = not given or function is torch.ops.aten.lift_fresh.default
        for tensor in [] if constant else tensors_in(made):
            if tensor.is_floating_point() and not _moved(function, given, tensor):
                kind = tensor.device.type
                self.values[kind] += tensor.numel()
                self.operators.setdefault(kind, Counter())[str(function)] += 1
        return made


def _moved(function: Any, given: list[torch.Tensor], made: torch.Tensor) -> bool:
    """Whether an operator only copied a tensor from another device, or made a view of one."""
    if made.device.type not in {tensor.device.type for tensor in given}:
        return True
    storage = made.untyped_storage()._cdata
    views = any(
        returned.alias_info is not None and not returned.alias_info.is_write
        for returned in function._schema.returns
    )
    return views and any(tensor.untyped_storage()._cdata == storage for tensor in given)


class GpuProgram(TorchProgram):
    """A module on a GPU, with proof of placement: a dispatch mode, and the profiler."""

    def placement(self) -> Placement:
        """Where tensors lie, where operators compute, and which kernels ran on the device."""
        at_rest = super().placement()
        share, evidence = at_rest.device_share, [at_rest.evidence]
        fallback_ops = dict(at_rest.fallback_ops)
        if not self.mode.compiled:  # a graph is one operator
            given = self.tensors(self._inputs)
            with warned_fallbacks() as warned, ComputedValues() as computed:
                self.run(given)
            fallback_ops |= warned
            for kind, operators in computed.operators.items():
                if kind != self.device.type:
                    fallback_ops |= {f"{operator} ({kind})": n for operator, n in operators.items()}
            whole = sum(computed.values.values())
            share = min(share, computed.values[self.device.type] / whole if whole else 0.0)
            if warned:
                share = 0.0
            evidence.append("and of every floating value that is computed")
        kernels = self.kernels()
        if kernels is not None:
            share = share if kernels else 0.0
            evidence.append(
                f"torch.profiler saw {sum(kernels.values())} kernels of {len(kernels)} kinds there"
            )
        return Placement(share, "; ".join(evidence), fallback_ops)

    def kernels(self) -> Counter[str] | None:
        """The kernels of one inference by name; None where PyTorch has no profiler for them."""
        activity = getattr(torch.profiler.ProfilerActivity, self.device.type.upper(), None)
        if activity is None:
            return None
        given = self.tensors(self._inputs)
        with torch.profiler.profile(activities=[activity], acc_events=True) as profile:
            self.run(given)
        return on_device(profile.events())


def on_device(events: Any) -> Counter[str]:
    """The profiler's events that ran on a device beside the CPU, by name; copies are none."""
    host = torch.autograd.DeviceType.CPU
    names = (e.name for e in events if e.device_type != host and not e.is_user_annotation)
    return Counter(name for name in names if not name.startswith(("Memcpy", "Memset")))


@contextmanager
def warned_fallbacks() -> Iterator[dict[str, int]]:
    """The operators that PyTorch says it runs on the CPU instead."""
    found: Counter[str] = Counter()
    said: dict[str, int] = {}
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # it would say so for the first one only
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
        for warning in caught:
            if match := _FALLS_BACK.search(str(warning.message)):
                found[match["op"]] += 1
        said.update(found)
    finally:
        torch.set_warn_always(before)


class GpuBackend(TorchBackend):
    """Base class for PyTorch's GPUs; with `--fallback cpu` the CPU stands in for a missing one."""

    kind = "cuda"  # as `torch.device` names it
    program: type[TorchProgram] = GpuProgram

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self.device = self._chosen(options.get("device") or self.kind)
        if self.stood_in_for:
            self.device, self.program = CPU, TorchProgram
        self._reset_process()

    def _chosen(self, name: str) -> torch.device:
        try:
            device = torch.device(name)
        except RuntimeError as error:
            device, name = torch.device("meta"), f"{name} ({error})"
        if device.type != self.kind:
            raise HarnessError(
                f"expected --device to be {self.kind} or {self.kind}:N, found {name}. "
                "Fix: `python -m harness devices` shows what is here"
            )
        return device

    @property
    def stood_in_for(self) -> bool:
        """Whether the CPU computes: the session asked for it where the device is missing."""
        return bool(self.options.get("fallback"))

    def find_device(self) -> Device:
        """The device, as its own library describes it.

        Raises:
            Unavailable: it is missing, or does not answer.
        """
        raise NotImplementedError

    def probe(self) -> Device:
        """The device, once it has computed a product; or the CPU, marked as its stand-in."""
        try:
            device = self.find_device()
            self._answers()
        except Unavailable:
            if not self.stood_in_for:
                raise
            return replace(CpuBackend(self.options).probe(), fallback=CPU.type)
        return device

    def _answers(self) -> None:
        device = self._chosen(self.options.get("device") or self.kind)
        try:
            ones = torch.ones(64, 64, device=device)
            total = float((ones @ ones).sum())
        except RuntimeError as error:
            raise Unavailable(
                f"{device} was found, and does not compute: {error}",
                "end what else uses it, or reset it.",
            ) from error
        if total != 64**3:
            raise Unavailable(f"{device} computes 64 x 64 x 64 = {total:g}.", "replace it.")

    @property
    def memory(self) -> Callable[[], int] | None:
        """The reader of device memory, in bytes; None on a stand-in."""
        return None if self.stood_in_for else self.allocated_bytes

    def meter(self) -> MeterReading | None:
        """Energy, clock and other processes of the device; None where no library tells them."""
        if self.stood_in_for or self.device.type != "cuda":
            return None
        read = gpu_meter.amd if torch.version.hip else gpu_meter.nvidia
        return read(self.device.index or 0)

    def allocated_bytes(self) -> int:
        """Peak device memory of this cell, in bytes, by PyTorch's allocator."""
        return int(torch.cuda.max_memory_allocated(self.device))

    def _reset_process(self) -> None:
        """Reset flags and memory that earlier cells of a shared worker have left behind."""
        self.set_global_flags(Mode(tf32=None))
        torch.set_default_dtype(torch.float32)
        gc.collect()
        self.release_memory()

    def release_memory(self) -> None:
        """Give unused device memory back, and reset the allocator's peak."""
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def indexed(type_: str, count: int) -> tuple[str, ...]:
    """Names that `--device` takes for each of several devices; none where there is one."""
    return tuple(f"{type_}:{index}" for index in range(count)) if count > 1 else ()


def cuda_device(device: torch.device, driver: str, versions: Mapping[str, str]) -> Device:
    """The device as `torch.cuda` describes it, for CUDA and for ROCm.

    Raises:
        Unavailable: there is none, or none with that number.
    """
    count, index = torch.cuda.device_count(), device.index or 0
    if index >= count:
        raise Unavailable(
            f"torch {torch.__version__} expected {device}, found {count or 'no'} devices "
            f"(driver: {driver or 'none found'}).",
            "`python -m harness devices` shows what this machine has.",
        )
    try:
        about = torch.cuda.get_device_properties(index)
    except RuntimeError as error:  # the driver is older than what torch was built for
        raise Unavailable(
            f"torch {torch.__version__} cannot open {device}: {error} "
            f"(driver: {driver or 'none found'}).",
            "update the driver, or take an older wheel index (UV_TORCH_BACKEND).",
        ) from error
    return Device(
        name=about.name,
        kind="gpu",
        versions=versions,
        driver=driver,
        memory_bytes=int(about.total_memory),
        units=indexed(device.type, count) if device.index is None else (),
    )
