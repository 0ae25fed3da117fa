"""OpenVINO on whatever device it finds: models converted from PyTorch in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
import transformers

from backends._shared import positions
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.generation import stepwise
from backends._shared.openvino import devices
from backends._shared.openvino.placement import executed_on
from backends._shared.openvino_without_telemetry import ov
from backends.openvino import convert, model_cache
from backends.openvino.program import CompiledMetadata, OpenVINOProgram
from backends.openvino.reconversion import ReconvertingProgram, shapes_of
from harness.contract import Arrays, Case, Device, ExportedFile, Generator, Precision, Program
from harness.toolkit import cache as caches


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
        """Precisions of the device, `default` first."""
        return self.target.precisions()

    def probe(self) -> Device:
        """The device as its plug-in names it."""
        return self.target.described(
            {
                "openvino": ov.get_version().partition("-")[0],
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Convert and compile, or take either from the cache."""
        example = case.inputs("base")
        if not _is_repaired(precision):
            return self._prepared(case, precision, example)
        complete = positions.completer(case)
        example = complete(example)
        prepared = partial(self._prepared, case, precision)
        return CompletedProgram(ReconvertingProgram(prepared(example), example, prepared), complete)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """`generate()` on models with explicit caches, each converted at its first call."""
        return stepwise.generator(case, partial(self.prepare, precision=precision), static=False)

    def _prepared(self, case: Case, precision: Precision, example: Arrays) -> OpenVINOProgram:
        target, store = self.target, caches.Cache.of(self.options)
        hints = target.hints(precision)
        compression = precision.name if precision in devices.COMPRESSED else ""
        repaired = _is_repaired(precision)
        said = f"{compression} {repaired=}"
        model_key = store.key_of(partial(model_cache.model_key, case, example, said))
        blob_key = model_cache.blob_key(model_key, target.about(), hints)
        parts = store.get(blob_key)
        if parts is not None:
            compiled, about = model_cache.unpack_blob(target.core, target.name, hints, parts)
            return OpenVINOProgram(compiled, about, target, "compiled model from the cache")
        parts = store.get(model_key)
        if parts is not None:
            converted, origin = model_cache.unpack(target.core, parts), "IR from the cache"
        else:
            converted, origin = self._convert(case, example, compression, repaired), "converted"
            store.put(model_key, partial(model_cache.pack, converted))
        compiled = target.core.compile_model(converted.model, target.name, hints)
        support = target.support(converted.model, executed_on(compiled))
        about = CompiledMetadata(converted.inputs, converted.outputs, support)
        if target.exports:
            store.put(blob_key, partial(model_cache.pack_blob, compiled, about))
        return OpenVINOProgram(compiled, about, target, f"{origin}; {store.trouble}".strip("; "))

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The IR that runs on these inputs; where the conversion fails, the trace that fails.

        Raises:
            What PyTorch's tracer raises.
        """
        repaired = _is_repaired(precision)
        complete = positions.completer(case) if repaired else dict
        example, feed = complete(case.inputs("base")), complete(inputs)
        compression = precision.name if precision in devices.COMPRESSED else ""
        try:
            converted = self._convert(case, example, compression, repaired)
            if repaired and shapes_of(feed) != shapes_of(example):
                try:
                    self.target.core.compile_model(converted.model, self.target.name)(
                        [feed[name] for name in converted.inputs]
                    )
                except RuntimeError:
                    converted = self._convert(case, feed, compression, repaired)
        except RuntimeError:
            traced = path.with_suffix(".pt")
            convert.trace(case, example, traced, repaired=repaired)
            return ExportedFile(traced, example, {})
        written = path.with_suffix(".xml")
        ov.save_model(converted.model, written, compress_to_fp16=False)
        ports = zip(converted.inputs, converted.model.inputs, strict=True)
        return ExportedFile(
            written,
            {n: feed[n].astype(port.get_element_type().to_dtype()) for n, port in ports},
            {name: position for position, name in enumerate(converted.outputs)},
        )

    def _convert(
        self, case: Case, example: Arrays, compression: str, repaired: bool
    ) -> convert.Converted:
        converted = convert.convert(case, example, repaired=repaired)
        if not compression:
            return converted
        from backends.openvino import compress  # NNCF takes longer to import than all else

        return replace(converted, model=compress.compressed(converted.model, compression))


def _is_repaired(precision: Precision) -> bool:
    """Whether known faults of OpenVINO are repaired: in every precision but `default`."""
    return precision.name != "default"
