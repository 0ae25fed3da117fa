"""Converted and compiled models as entries of the harness's cache.

An IR serves every precision and device; a compiled blob serves one precision on one device. What a
model says follows from its weights, its config, the code that runs it and what converts it: those
make the key. (The IR's text would not do: its names are numbered differently in every process.)
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backends._shared import cache_key
from backends._shared.openvino_without_telemetry import ov
from backends.openvino.convert import Converted
from backends.openvino.program import CompiledMetadata
from harness.contract import Arrays, Case
from harness.toolkit import cache as caches

#: Packages whose versions are part of a converted model's cache key.
PACKAGES = ("openvino", "nncf", "torch", "transformers", "diffusers", "torch-geometric")


def model_key(case: Case, arrays: Arrays, compression: str) -> str:
    """The key of a case's IR.

    Args:
        case: whose weights and config count.
        arrays: the example that it is traced with.
        compression: how its weights are compressed; empty where they are not.
    """
    return caches.key(
        kind="openvino ir",
        model=case.model_name,
        config=cache_key.config(case.config()),
        weights=cache_key.weights(case.module()),
        inputs=cache_key.inputs(arrays),
        options=dict(case.options()),
        compression=compression,
        code=cache_key.code(Path(__file__).parent),
        versions=cache_key.versions(PACKAGES),
    )


def blob_key(model: str, device: Mapping[str, Any], hints: Mapping[str, Any]) -> str:
    """The key of a compiled blob.

    Args:
        model: the key of its IR.
        device: what the device says about itself: a blob holds kernels for one of its kind.
        hints: the properties that it was compiled with. A blob that is imported under others is
            silently wrong: one compiled for f32 gives NaN without the hint.
    """
    return caches.key(kind="openvino blob", model=model, device=device, hints=hints)


def pack(converted: Converted) -> dict[str, bytes]:
    """An IR as the parts of an entry."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(converted.model, path, compress_to_fp16=False)
        files = {p.name: p.read_bytes() for p in (path, path.with_suffix(".bin"))}
    ports = {"inputs": converted.inputs, "outputs": converted.outputs}
    return {"ports.json": json.dumps(ports).encode(), **files}


def unpack(core: Any, parts: Mapping[str, bytes]) -> Converted:
    """The converted model, from the parts that `pack` made."""
    ports = json.loads(parts["ports.json"])
    weights = ov.Tensor(np.frombuffer(parts["model.bin"], dtype=np.uint8).copy())
    model = core.read_model(parts["model.xml"], weights)
    return Converted(model, tuple(ports["inputs"]), tuple(ports["outputs"]))


def pack_blob(compiled: Any, about: CompiledMetadata) -> dict[str, bytes]:
    """A compiled model as the parts of an entry."""
    said = {name: getattr(about, name) for name in CompiledMetadata.__slots__}
    stream = io.BytesIO()
    compiled.export_model(stream)
    return {"about.json": json.dumps(said).encode(), "blob": stream.getvalue()}


def unpack_blob(
    core: Any, device: str, hints: Mapping[str, Any], parts: Mapping[str, bytes]
) -> tuple[Any, CompiledMetadata]:
    """The compiled model, from the parts that `pack_blob` made under the same hints."""
    said = json.loads(parts["about.json"])
    about = CompiledMetadata(tuple(said["inputs"]), tuple(said["outputs"]), said["support"])
    return core.import_model(parts["blob"], device, dict(hints)), about
