"""OpenVINO on whatever device it finds: models converted from PyTorch in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
import transformers

from backends.openvino import artefacts, convert, devices
from backends.openvino.program import About, OpenVINOProgram, executed_on
from backends.openvino.runtime import ov
from harness import cache as caches
from harness.contract import Case, Device, Precision


class Backend:
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    @cached_property
    def target(self) -> devices.Target:
        """The device; opened at the first use, which is in a child."""
        return devices.target(self.options.get("device", ""), ov.Core())

    @property
    def precisions(self) -> Sequence[Precision]:
        """What the device offers."""
        return self.target.precisions()

    def probe(self) -> Device:
        """The device as its plug-in names it."""
        target = self.target
        kind = target.devices[0].partition(".")[0].lower()
        memory = target.read("GPU_DEVICE_TOTAL_MEM_SIZE")
        name = target.read("FULL_DEVICE_NAME", target.devices[0])
        return Device(
            name=name if target.name == target.devices[0] else f"{name} through {target.name}",
            kind=kind,
            versions={
                "openvino": ov.get_version().partition("-")[0],
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            driver=str(target.read("NPU_DRIVER_VERSION", "")),
            memory_bytes=int(memory) if memory else None,
        )

    def prepare(self, case: Case, precision: Precision) -> OpenVINOProgram:
        """Convert and compile, or take either from the cache."""
        target, store = self.target, caches.Cache.of(self.options)
        hints = target.hints(precision)
        compression = precision.name if precision in devices.COMPRESSED else ""
        repaired = precision.name != "default"  # which is what a user gets
        model_key = artefacts.model_key(case, f"{compression} {repaired=}")
        blob_key = artefacts.blob_key(model_key, target.about(), hints)
        parts = store.get(blob_key)
        if parts is not None:
            compiled, about = artefacts.unpack_blob(target.core, target.name, hints, parts)
            return OpenVINOProgram(compiled, about, target, "compiled model from the cache")
        parts = store.get(model_key)
        if parts is not None:
            converted, origin = artefacts.unpack(target.core, parts), "IR from the cache"
        else:
            converted, origin = self._convert(case, compression, repaired), "converted"
            store.put(model_key, artefacts.pack(converted))
        compiled = target.core.compile_model(converted.model, target.name, hints)
        support = target.support(converted.model, executed_on(compiled))
        about = About(converted.inputs, converted.outputs, converted.route, support)
        if target.exports:
            store.put(blob_key, artefacts.pack_blob(compiled, about))
        return OpenVINOProgram(compiled, about, target, f"{origin}; {store.trouble}".strip("; "))

    def _convert(self, case: Case, compression: str, repaired: bool) -> convert.Converted:
        converted = convert.convert(case, repaired=repaired)
        if not compression:
            return converted
        from backends.openvino import compress  # NNCF takes longer to import than all else

        return replace(converted, model=compress.compressed(converted.model, compression))
