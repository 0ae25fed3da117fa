"""Exported graphs as entries of the harness's cache.

What a graph says follows from the model's weights, its config, its example inputs, the code that
exports it and the versions of what it uses: those make the key.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from backends._onnx import exported
from backends._onnx.exported import Exported
from backends._onnx.passes import Pass
from harness import cache as caches
from harness.contract import Array, Arrays, Case

#: What changes an exported graph when it changes.
PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "diffusers")


def exports(
    case: Case, store: caches.Cache, key: str, rewrites: Sequence[Pass] = ()
) -> Iterator[Exported]:
    """What `exported.exports` gives, the first one from the cache where it is there.

    Args:
        case: whose module is exported.
        store: where the first graph is kept.
        key: what `model_key` made.
        rewrites: the passes to apply.
    """
    parts = store.get(key)
    if parts is not None:
        found = unpack(parts)
        yield found
        made = exported.exports(case, rewrites, after=found.route)
    else:
        made = exported.exports(case, rewrites)
        first = next(made)
        store.put(key, pack(first))
        yield first
    yield from made


def model_key(case: Case, rewrites: Sequence[Pass] = ()) -> str:
    """The key of a case's graph.

    Args:
        case: whose weights, config and example inputs count.
        rewrites: the passes that are applied to it.
    """
    return caches.key(
        kind="onnx",
        model=case.model_name,
        config=_config(case.config()),
        weights=_weights(case.module()),
        inputs=[_digest(case.inputs(name)) for name in ("base", "other")],
        options=dict(case.options()),
        rewrites=[each.name for each in rewrites],
        code=code(Path(__file__).parent),
        versions=versions(),
    )


def pack(made: Exported) -> dict[str, bytes]:
    """A graph as the parts of an entry."""
    said = {"outputs": made.outputs, "route": made.route, "rewrites": made.rewrites}
    return {
        "about.json": json.dumps(said).encode(),
        "fixed.npz": packed(made.fixed),
        "base.npz": packed(made.base),
        "model.onnx": made.model,
    }


def unpack(parts: Mapping[str, bytes]) -> Exported:
    """What `pack` packed."""
    said = json.loads(parts["about.json"])
    return Exported(
        model=parts["model.onnx"],
        outputs=said["outputs"],
        fixed=unpacked(parts["fixed.npz"]),
        route=said["route"],
        rewrites=said["rewrites"],
        base=unpacked(parts["base.npz"]),
    )


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Named arrays in one string."""
    stream = io.BytesIO()
    # Under numbers: a name may have what a file's name may not.
    np.savez(stream, *arrays.values(), names=np.array(list(arrays), dtype=str))
    return stream.getvalue()


def unpacked(data: bytes) -> Arrays:
    """What `packed` packed."""
    with np.load(io.BytesIO(data)) as held:
        return {str(name): held[f"arr_{i}"] for i, name in enumerate(held["names"])}


@cache
def code(*folders: Path) -> str:
    """A digest of the code in some folders and below them."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def versions() -> Mapping[str, str]:
    """The installed versions of `PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _digest(arrays: Arrays) -> str:
    """Of names, types, shapes and values: a graph may keep some of each."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _config(config: Any) -> Any:
    to_dict = getattr(config, "to_dict", None)
    return to_dict() if to_dict is not None else config


def _weights(module: Any) -> str:
    """A digest of every parameter and buffer, saved or not."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
