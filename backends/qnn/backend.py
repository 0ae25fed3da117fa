"""Qualcomm's HTP through ONNX Runtime's QNN provider: on Snapdragon, or on Qualcomm's emulator."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_qnn

from backends._shared import positions, timesteps
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.generation import stepwise
from backends._shared.onnx import graph_cache
from backends._shared.onnx.passes import chosen
from backends._shared.onnx.runtime import (
    Inference,
    assignment,
    cpu_session,
    exported_file,
    placement_on,
)
from backends._shared.onnx.verified_export import Exported
from backends.qnn import context_cache, sessions
from backends.qnn.rewrites import BEFORE_QUANTISING, PASSES
from backends.qnn.soc import Soc, UnknownSoc, choose, detect
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    ExportedFile,
    Generator,
    Placement,
    Precision,
    Program,
    Unavailable,
)
from harness.toolkit import cache as caches
from harness.toolkit import kept_failures, numerics

#: Results this close to float32 were not computed in float16: half its rounding is 5e-4.
TOO_EXACT = 1e-5

#: So many routes' graphs are compiled at most, where the HTP does not take all of one.
ROUTES_TRIED = 3

#: Precision -> bits of the activations, where the graph is quantised.
QUANTISED: Mapping[str, int] = {"a16w8": 16, "a8w8": 8}


class QnnProgram:
    """A compiled graph on the HTP.

    Args:
        session: of ONNX Runtime.
        made: how the graph came about; the graph itself is not looked at.
        found: what the session assigned to the provider.
        inputs: the plain example, on which `made.base` was computed.
        dtype: that the HTP computes in.
    """

    def __init__(
        self, session: Any, made: Exported, found: Placement, inputs: Arrays, dtype: str
    ) -> None:
        self.infer = Inference(session, made.outputs, made.fixed)
        self.made = made
        self.found = found
        self.inputs = inputs
        self.dtype = dtype
        self._answered: Arrays | None = None  # on the plain example

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        found = self.infer(inputs)
        if self._answered is None and self._is_plain(inputs):
            self._answered = found
        return found

    def placement(self) -> Placement:
        """Nodes that the session assigned to the provider; a share of 0 if the values belie it."""
        found, base = self.found, self.made.base
        got = self._answered if self._answered is not None else self.infer(self.inputs)
        apart = numerics.difference(got, base)
        if apart.faults or not numerics.comparable(base):
            return found
        if self.dtype == "float16" and apart.error < TOO_EXACT:
            return Placement(
                0.0,
                f"values within {apart.error:.1g} of float32, too exact for float16, although: "
                f"{found.evidence}",
                found.fallback_ops,
            )
        beside = f"{apart.error:.2g} off the same graph on the CPU provider"
        return replace(found, evidence=f"{found.evidence}; {beside}")

    def _is_plain(self, inputs: Mapping[str, Array]) -> bool:
        return all(np.array_equal(inputs[name], array) for name, array in self.inputs.items())


class Backend:
    """Implements `harness.contract.Backend`."""

    # The compiler and the emulator need minutes for the largest graphs, those of diffusion.
    precisions: Sequence[Precision] = (
        Precision("default", "float16", patience=2.0),
        Precision("f16", "float16", patience=2.0),
        Precision("a16w8", "int8", patience=2.0),
        Precision("a8w8", "int8", patience=2.0),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        skipped = options.get("skip_rewrite", "")
        every = chosen((*PASSES, *BEFORE_QUANTISING), skipped)
        self.passes = tuple(each for each in every if each in PASSES)
        self.passes_before_quantising = every

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

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, rewrite, check on the CPU provider, and compile for the SoC.

        Where the HTP refuses the graph or takes only a part of it, the next route is tried too.

        Raises:
            ExportFailed: no exporter gives a right graph; the provider is not to blame.
            KeptFailure: it failed before.
            What ONNX Runtime raises when the provider cannot compile it.
        """
        case, sinusoids = timesteps.completed_case(case)
        case, places = positions.completed_case(case)
        program = CompletedProgram(self._prepared(case, precision), places)
        return CompletedProgram(program, sinusoids)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """`generate()` on graphs with explicit caches of a fixed length, compiled for the HTP."""
        return stepwise.generator(case, partial(self.prepare, precision=precision), static=True)

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The graph of the first route as a file, as the provider gets it.

        Raises:
            ExportFailed: no exporter gives a right graph.
        """
        case, sinusoids = timesteps.completed_case(case)
        case, places = positions.completed_case(case)
        bits = QUANTISED.get(precision.name)
        passes = self.passes_before_quantising if bits else self.passes
        store = caches.Cache.of(self.options)
        key = graph_cache.model_key(case, store, passes, static=True)
        made = next(graph_cache.exports(case, store, key, passes, static=True))
        if bits:
            made = quantised(made, case, bits)
        written = exported_file(made.model, made.outputs, places(sinusoids(inputs)), path)
        return replace(written, judged_alone=True)

    @property
    def soc(self) -> Soc:
        """The SoC to compile for."""
        return choose(self.options.get("soc", ""), detect())

    def _prepared(self, case: Case, precision: Precision) -> QnnProgram:
        soc = choose(self.options.get("soc", ""), detect())
        bits = QUANTISED.get(precision.name)
        passes = self.passes_before_quantising if bits else self.passes
        store = caches.Cache.of(self.options)
        key = graph_cache.model_key(case, store, passes, static=True)
        compiled_key = context_cache.key(key, soc, bits)
        parts = store.get(compiled_key)
        if parts is not None:
            kept_failures.raise_kept(parts)
            made, placed = context_cache.unpack(parts)
            session = sessions.session(made.model, soc)
            return QnnProgram(session, made, placed, case.inputs("base"), precision.dtype)
        graphs = graph_cache.exports(case, store, key, passes, static=True)
        if bits:
            graphs = (quantised(made, case, bits) for made in graphs)
        try:
            session, made, placed = compiled(graphs, soc)
        except Exception as error:
            if kept_failures.lasting(error):
                store.put(compiled_key, kept_failures.pack(error))
            raise
        if made.model:
            store.put(compiled_key, partial(context_cache.pack, made, placed))
        return QnnProgram(session, made, placed, case.inputs("base"), precision.dtype)


def compiled(graphs: Iterator[Exported], soc: Soc) -> tuple[Any, Exported, Placement]:
    """The compiled graph of which the HTP takes most: its session, context binary and placement.

    Args:
        graphs: right ones, the preferred one first; the next is only made where that one is not
            taken as a whole.
        soc: to compile for.

    Raises:
        What ONNX Runtime raises when the provider can compile none of them, and what making the
        first one raises.
    """
    best: tuple[Any, Exported, Placement] | None = None
    refusals: list[Exception] = []
    for graph in islice(graphs, ROUTES_TRIED):
        try:
            session, context = sessions.compiled(graph.model, soc)
        except Exception as error:  # of another route's graph it may make something
            refusals.append(error)
            continue
        ends = len(session.get_inputs()) + len(session.get_outputs())
        placed = placement_on(sessions.PROVIDER, assignment(session), ends)
        placed = _with_origin(placed, graph, soc)
        if best is None or placed.device_share > best[2].device_share:
            best = session, replace(graph, model=context), placed
        if placed.device_share == 1.0:
            break
    if best is None:
        raise refusals[0]
    return best


def quantised(made: Exported, case: Case, bits: int) -> Exported:
    """The quantised graph (weights in 8 bits), and its outputs on the CPU provider."""
    from backends._shared.onnx import quantize  # which imports much, and only two precisions need

    model = quantize.qdq(made.model, case, bits)
    infer = Inference(cpu_session(model), made.outputs, made.fixed)
    return replace(made, model=model, base=infer(case.inputs("base")))


def _with_origin(found: Placement, made: Exported, soc: Soc) -> Placement:
    """The placement, with the graph's route of export and rewrites among its counts."""
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
