"""OpenVINO through optimum-intel: `OVModelFor...from_pretrained(folder, export=True)`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from backends.openvino_optimum import classes, exports, pipelines
from backends.openvino_optimum.case import OptimumCase
from backends.openvino_optimum.optimum_imports import ov
from backends.openvino_optimum.program import OptimumProgram
from harness.contract import (
    Arrays,
    Case,
    Device,
    Generator,
    Precision,
    Unavailable,
    Unsupported,
)
from harness.toolkit import cache as caches

#: Libraries whose models optimum-intel exports in another form, or not at all.
OTHERS: Mapping[str, str] = {
    "diffusers": "optimum-intel exports whole pipelines of diffusers (OVDiffusionPipeline), and "
    "neither a denoiser nor an autoencoder of its own",
    "torch_geometric": "optimum-intel has no exporter for torch_geometric",
}
#: The numpy-style names of OpenVINO's element types.
DTYPES: Mapping[str, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
#: Properties under which the plug-in computes in float32 throughout.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


@dataclass(frozen=True, slots=True)
class MadeModel:
    """A compiled model of optimum.

    Attributes:
        case: of the model; held, so that its identity is no other case's.
        model: optimum's own.
        origin: an export or the cache, in words.
        key: of its IR in the cache.
    """

    case: Case
    model: Any
    origin: str
    key: str


class Backend:
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self._models: dict[tuple[str, int], MadeModel] = {}  # by precision and the case's identity
        self._store = caches.Cache.of(options)
        self._folder = tempfile.TemporaryDirectory()  # some classes read from it later

    @cached_property
    def device(self) -> str:
        """The device of `--device`, the CPU by default.

        Raises:
            Unavailable: this machine has no such device.
        """
        wanted = (self.options.get("device") or "CPU").upper()
        here = ov.Core().available_devices
        if wanted not in here and f"{wanted}.0" not in here:
            raise Unavailable(
                f"expected --device to be one of OpenVINO's devices on this machine, "
                f"{', '.join(here)}, found {wanted}.",
                "name one of them, or install the driver that the device needs.",
            )
        return wanted

    @cached_property
    def precisions(self) -> Sequence[Precision]:
        """The precision that a user gets without asking, and float32."""
        hint = ov.Core().get_property(self.device, "INFERENCE_PRECISION_HINT")
        default = DTYPES.get(hint.get_type_name(), "float32")
        return Precision("default", default), Precision("f32", "float32")

    def probe(self) -> Device:
        """The device as its plug-in names it."""
        return Device(
            name=str(ov.Core().get_property(self.device, "FULL_DEVICE_NAME")),
            kind=self.device.partition(".")[0].lower(),
            versions={
                "openvino": ov.get_version().partition("-")[0],
                "optimum-intel": version("optimum-intel"),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        )

    def narrowed(self, case: Case) -> Case:
        """The case with the inputs and outputs that optimum's class has."""
        return OptimumCase(case)

    def prepare(self, case: Case, precision: Precision) -> OptimumProgram:
        """The model as transformers saves it, then exported, loaded and compiled by optimum.

        Raises:
            Unsupported: optimum says that it does not export this model, or not for this task.
        """
        if case.entry.library in OTHERS:
            raise Unsupported(OTHERS[case.entry.library])
        made = self._model(case, precision)
        return OptimumProgram(made.model, made.origin, case, self.device)

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> OptimumProgram:
        """The exported model after `save_pretrained` and loading; the cache keeps the files."""
        made = self._model(case, precision)
        exported = folder / "exported"
        made.model.save_pretrained(exported)
        self._store.put(made.key, partial(exports.pack, exported))
        loaded = exports.load(_row(case), exported, self.device, _hints(precision))
        return OptimumProgram(loaded, "saved and loaded", case, self.device)

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """Outputs of `optimum.intel.pipeline` for raw input, and the arrays it feeds the model."""
        return pipelines.answer(self.prepare(case, precision).model, case)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """The exported model's `generate()`, which is that of transformers."""
        return pipelines.generator(self.prepare(case, precision).model, case)

    def _model(self, case: Case, precision: Precision) -> MadeModel:
        """The compiled model of a case, made once: a cell's ways to it share it."""
        place = (precision.name, id(case))
        if place not in self._models:
            self._models[place] = self._made(case, precision)
        return self._models[place]

    def _made(self, case: Case, precision: Precision) -> MadeModel:
        """The compiled model, exported or from the cache."""
        folder = Path(self._folder.name, str(len(self._models)))
        saved, kept = folder / "saved", folder / "kept"
        row, hints = _row(case), _hints(precision)
        case.save(saved)
        if row.completes:
            exports.complete(saved, case)
        key = self._store.key_of(partial(exports.key, saved, row))
        parts = self._store.get(key)
        if parts is None:
            model = exports.export(row, saved, case.config(), self.device, hints)
            origin = f"exported; {self._store.trouble}".strip("; ")
            return MadeModel(case, model, origin, key)
        exports.unpack(parts, kept)
        loaded = exports.load(row, kept, self.device, hints)
        return MadeModel(case, loaded, "IR from the cache", key)


def _row(case: Case) -> classes.ClassRow:
    return classes.row_of(case.head, case.config(), case.inputs())


def _hints(precision: Precision) -> Mapping[str, str]:
    return EXACT if precision.name == "f32" else {}
