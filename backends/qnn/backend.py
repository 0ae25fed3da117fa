"""Qualcomm's HTP through ONNX Runtime's QNN provider: on Snapdragon, or on Qualcomm's emulator."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import onnxruntime_qnn

from backends._onnx.exported import Exported, export
from backends._onnx.passes import chosen
from backends._onnx.runtime import Inference, assignment, placement_on
from backends.qnn import session as sessions
from backends.qnn.rewrites import PASSES
from backends.qnn.soc import Soc, UnknownSoc, choose, detect
from harness import numerics
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    Placement,
    Precision,
    Unavailable,
)

#: Results this close to float32 were not computed in float16: half its rounding is 5e-4.
TOO_EXACT = 1e-5


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a compiled graph, beside the graph."""

    outputs: Mapping[str, int]
    placement: Placement
    base: Arrays  # of the same graph in float32 on the CPU


class QnnProgram:
    """A compiled graph on the HTP."""

    def __init__(self, infer: Inference, record: Record, inputs: Arrays) -> None:
        self.infer = infer
        self.record = record
        self.inputs = inputs

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.infer(inputs)

    def placement(self) -> Placement:
        """What the session assigned to the provider; nothing, if the values belie it."""
        found = self.record.placement
        apart = numerics.difference(self.infer(self.inputs), self.record.base)
        if not apart.faults and numerics.comparable(self.record.base) and apart.error < TOO_EXACT:
            return Placement(
                0.0,
                f"values within {apart.error:.1g} of float32, too exact for float16, although: "
                f"{found.evidence}",
                found.fallback_ops,
            )
        return found


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (
        Precision("default", "float16"),
        Precision("f16", "float16"),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self.passes = chosen(PASSES, options.get("skip_rewrite", ""))

    def probe(self) -> Device:
        """The SoC, and whether it is the emulator's.

        Raises:
            Unavailable: an ARM machine without a known SoC, or without the provider's device.
            HarnessError: `--soc` names none.
        """
        try:
            found = detect()
        except UnknownSoc as error:
            raise Unavailable(
                f"This ARM machine shows no SoC that is known here; it says {error}.",
                "give its name with --soc, if it is in backends/qnn/soc.py.",
            ) from error
        soc = choose(self.options.get("soc", ""), found)
        (device,) = sessions.devices()
        where = f"emulated on {platform.machine()}" if soc.emulated else soc.evidence
        packages = ("onnxruntime", "onnxruntime-qnn", "onnx", "onnxscript", "torch", "transformers")
        return Device(
            name=f"HTP of {soc.name.upper()} ({where})",
            kind="npu",
            versions={name: version(name) for name in packages},
            driver=f"QNN provider {onnxruntime_qnn.__version__} for {device.device.vendor}",
            emulated=soc.emulated,
        )

    def prepare(self, case: Case, precision: Precision) -> QnnProgram:
        """Export, rewrite, check on the CPU provider, and compile for the SoC.

        Raises:
            ExportFailed: no exporter gives a right graph; the provider is not to blame.
            What ONNX Runtime raises when the provider cannot compile it.
        """
        soc = choose(self.options.get("soc", ""), detect())
        made = export(case, self.passes)
        session = sessions.session(made.model, soc)
        found = placement_on(sessions.PROVIDER, assignment(session))
        record = Record(made.outputs, _with_origin(found, made, soc), made.base)
        return QnnProgram(Inference(session, made.outputs, made.fixed), record, case.inputs("base"))


def _with_origin(found: Placement, made: Exported, soc: Soc) -> Placement:
    """The placement, with how the graph came about."""
    where = f"{soc.name}, emulated" if soc.emulated else soc.name
    rewrites = ", ".join(f"{name} x{count}" for name, count in made.rewrites.items())
    evidence = f"{found.evidence} ({where}); route {made.route}; rewrites: {rewrites or 'none'}"
    counts = {f"rewrite/{name}": count for name, count in made.rewrites.items()}
    return Placement(
        found.device_share,
        evidence,
        found.fallback_ops,
        {**found.counts, f"route/{made.route}": 1, **counts},
    )
