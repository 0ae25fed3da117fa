"""onnxruntime-web in headless Chromium, on WebGPU or WebAssembly: what transformers.js runs on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

from backends._shared import positions
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.onnx import graph_cache
from backends._shared.onnx.passes import chosen
from backends._shared.onnx.runtime import Inference, PlacedProgram, exported_file
from backends._shared.onnx.verified_export import Exported
from backends._shared.onnx.webgpu_rewrites import PASSES
from backends.webgpu_browser import chromium, console, messages, runtime_files
from backends.webgpu_browser.chromium import Browser
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    ExportedFile,
    HarnessError,
    Placement,
    Precision,
    Program,
    Unsupported,
)
from harness.toolkit import cache as caches

#: Name of a device -> the provider of ONNX Runtime that computes there.
PROVIDERS: Mapping[str, str] = {
    "webgpu": "WebGpuExecutionProvider",
    "wasm": "CPUExecutionProvider",
}

#: A kind of `--fault` -> the action of the page that brings it about, before the first inference.
FAULTS: Mapping[str, str] = {"lost-device": "lose", "endless-loop": "loop"}
DEAD_PAGE = "dead-page"


class BrowserSession:
    """A session of onnxruntime-web, with the members of an `InferenceSession` that are used here.

    Args:
        browser: which has a page for this session alone.
        model: the serialised graph.
        device: a key of `PROVIDERS`.
    """

    def __init__(self, browser: Browser, model: bytes, device: str) -> None:
        self.browser = browser
        options = {"executionProviders": [device], "logSeverityLevel": 0}
        said, _ = browser.server.ask({"action": "open", "options": options}, model)
        self.assigned = console.assignment(said["lines"])
        self._inputs = [_described(value) for value in onnx.load_from_string(model).graph.input]

    def disable_fallback(self) -> None:
        """Nothing: a run that fails on the page is not tried again."""

    def get_inputs(self) -> list[Any]:
        """Name, shape and type of each input."""
        return self._inputs

    def run(self, _: object, feed: Mapping[str, Array]) -> list[Array]:
        """One inference; the outputs in the graph's order."""
        feeds = [messages.described(name, array) for name, array in feed.items()]
        data = [array.tobytes() for array in feed.values()]
        said, parts = self.browser.server.ask({"action": "run", "feeds": feeds}, *data)
        return [
            messages.array_of(about, part)
            for about, part in zip(said["outputs"], parts, strict=True)
        ]


class Backend:
    """Implements `harness.contract.Backend`."""

    # Shaders are compiled at the first inference; SwiftShader takes up to a minute for that.
    precisions: Sequence[Precision] = (
        Precision("default", "float32", patience=3.0),
        Precision("f32", "float32", patience=3.0),
        Precision("f16", "float16", patience=3.0),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self.passes = chosen(PASSES, options.get("skip_rewrite", ""))
        self.device = options.get("device", "webgpu")
        if self.device not in PROVIDERS:
            raise HarnessError(
                f"expected --device to be one of {', '.join(PROVIDERS)}, found {self.device!r}. "
                "Fix: name one of these"
            )

    def probe(self) -> Device:
        """The browser's GPU or what stands in for one, or its WebAssembly.

        Raises:
            Unavailable: there is no browser, no npm, or onnxruntime-web cannot be fetched.
        """
        files = runtime_files.files()
        words = chromium.command()
        said = subprocess.run([words[0], "--version"], capture_output=True, text=True, check=False)
        browser = said.stdout.strip()
        packages = ("onnx", "onnxscript", "onnxruntime", "torch", "transformers")
        versions = {each: version(each) for each in packages}
        versions["onnxruntime-web"] = runtime_files.VERSION
        if self.device == "wasm":
            return Device(f"WebAssembly of {browser}", "cpu", versions, browser)
        adapter = _adapter(files, words)
        name = " ".join(filter(None, (adapter["vendor"], adapter["architecture"])))
        emulated = adapter["architecture"] == "swiftshader"
        return Device(f"WebGPU on {name}", "gpu", versions, browser, emulated=emulated)

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, rewrite, check on the CPU provider, and open a session on a page of its own.

        Raises:
            Unsupported: float16 on a GPU without WebGPU's feature shader-f16.
            ExportFailed: no exporter gives a right graph; the runtime is not to blame.
            RuntimeError: onnxruntime-web cannot open the graph.
            PageGone: the page ended meanwhile.
        """
        files, words = runtime_files.files(), chromium.command()
        half_on_gpu = precision.dtype == "float16" and self.device == "webgpu"
        if half_on_gpu and "shader-f16" not in _adapter(files, words)["features"]:
            raise Unsupported("the GPU lacks WebGPU's feature shader-f16")
        case, complete = positions.completed_case(case)
        made = next(self._graphs(case, precision))
        browser = Browser(files, words)
        session = BrowserSession(browser, made.model, self.device)
        found = console.placement(PROVIDERS[self.device], session.assigned, made.model)
        evidence = f"{found.evidence}; route {made.route}"
        found = Placement(found.device_share, evidence, found.fallback_ops, found.counts)
        self._break(case.entry.name, browser)
        infer = Inference(session, made.outputs, made.fixed)
        return CompletedProgram(PlacedProgram(infer, found), complete)

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The graph as a file; raises as `prepare`."""
        case, complete = positions.completed_case(case)
        made = next(self._graphs(case, precision))
        return exported_file(made.model, made.outputs, complete(inputs), path)

    def _graphs(self, case: Case, precision: Precision) -> Iterator[Exported]:
        store = caches.Cache.of(self.options)
        key = graph_cache.model_key(case, store, self.passes)
        graphs = graph_cache.exports(case, store, key, self.passes)
        if precision.dtype != "float16":
            return graphs
        from backends._shared.onnx import half_precision  # which imports much

        return map(half_precision.halved, graphs)

    def _break(self, entry: str, browser: Browser) -> None:
        """Bring about the fault that `--fault` asks for."""
        for text in filter(None, self.options.get("fault", "").split(",")):
            kind, _, name = text.partition("=")
            if name != entry:
                continue
            if kind == DEAD_PAGE:
                browser.kill_page()
            else:
                browser.server.ask({"action": FAULTS[kind]})


def _adapter(files: Mapping[str, Path], words: Sequence[str]) -> Mapping[str, Any]:
    """WebGPU's adapter, as a page sees it.

    Raises:
        Unsupported: the browser has none.
    """
    browser = Browser(files, words)
    try:
        said, _ = browser.server.ask({"action": "adapter"})
    finally:
        browser.close()
    if said["adapter"] is None:
        raise Unsupported("the browser has no WebGPU adapter")
    found: Mapping[str, Any] = said["adapter"]
    return found


def _described(value: Any) -> Any:
    """An input of a graph as `Inference` reads it."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return SimpleNamespace(name=value.name, shape=shape, type=f"tensor({kind})")
