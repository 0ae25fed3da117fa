"""Cache entries of verified ONNX graphs: their keys, and the files that a graph is stored as.

A graph before any rewrite follows from the case and the route alone. It is made once for all
backends that take ONNX graphs, each of which keeps it again as its own rewrites leave it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backends._shared import cache_key
from backends._shared.export_failed import ExportFailed
from backends._shared.onnx import verified_export
from backends._shared.onnx.passes import Pass
from backends._shared.onnx.verified_export import Attempt, Exported
from harness.contract import Array, Arrays, Case
from harness.toolkit import cache as caches
from harness.toolkit import kept_failures

#: Packages whose versions are part of a key.
PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "diffusers")


def exports(
    case: Case,
    store: caches.Cache,
    key: str,
    rewrites: Sequence[Pass] = (),
    *,
    static: bool = False,
) -> Iterator[Exported]:
    """The graphs of `verified_export.exports`, the first one from the cache where it is there.

    Args:
        case: whose module is exported.
        store: the cache that keeps the first graph, or the failure to make one.
        key: of the first graph, from `model_key`.
        rewrites: the passes to apply.
        static: whether the provider takes static shapes alone.

    Raises:
        ExportFailed: no route leads to a right graph.
        KeptFailure: no route did so before, as the cache says.
    """
    parts = store.get(key)
    if parts is not None:
        kept_failures.raise_kept(parts)
        found = unpack(parts)
        yield found
        shelf = KeptRoutes.of(case, store)
        yield from verified_export.exports(case, shelf, rewrites, static=static, known=found.route)
        return
    made = verified_export.exports(case, KeptRoutes.of(case, store), rewrites, static=static)
    try:
        first = next(made)
    except ExportFailed as error:
        if kept_failures.lasting(error):
            store.put(key, kept_failures.pack(error))
        raise
    store.put(key, partial(pack, first))
    yield first
    yield from made


def model_key(
    case: Case, store: caches.Cache, rewrites: Sequence[Pass] = (), *, static: bool = False
) -> str:
    """The cache key of a case's graph; empty where the cache keeps nothing.

    Args:
        case: whose weights, config and example inputs count.
        store: the cache.
        rewrites: the passes that are applied to the graph.
        static: whether graphs of static shapes come first.
    """
    names = [each.name for each in rewrites]
    return store.key_of(
        lambda: caches.key(kind="onnx", rewrites=names, static=static, **_about(case))
    )


def _about(case: Case) -> dict[str, Any]:
    """The parts of a key that a case's graphs follow from, by any route."""
    return {
        "model": case.model_name,
        "config": cache_key.config(case.config()),
        "weights": cache_key.weights(case.module()),
        "inputs": [cache_key.inputs(case.inputs(name)) for name in ("base", "other")],
        "options": dict(case.options()),
        "code": cache_key.code(Path(__file__).parent),
        "versions": cache_key.versions(PACKAGES),
    }


@dataclass(frozen=True, slots=True)
class KeptRoutes:
    """The cache's entries of what each route makes of one case (`verified_export.Shelf`)."""

    store: caches.Cache
    about: str

    @classmethod
    def of(cls, case: Case, store: caches.Cache) -> KeptRoutes:
        """The entries of a case."""
        return cls(store, store.key_of(lambda: caches.key(**_about(case))))

    def get(self, route: str, fixed: frozenset[str]) -> Attempt | None:
        """The attempt of a route with some inputs as constants; None where the cache knows none."""
        parts = self.store.get(self._key(route, fixed))
        if parts is None:
            return None
        said = json.loads(parts["attempt.json"])
        right = unpack(parts) if "model.onnx" in parts else None
        return Attempt(**said, right=right)

    def put(self, route: str, fixed: frozenset[str], attempt: Attempt) -> None:
        """Write an entry with the attempt of a route."""
        self.store.put(self._key(route, fixed), partial(_packed, attempt))

    def _key(self, route: str, fixed: frozenset[str]) -> str:
        return caches.key(kind="onnx route", about=self.about, route=route, fixed=sorted(fixed))


def _packed(attempt: Attempt) -> dict[str, bytes]:
    said = {
        "sized_by_values": attempt.sized_by_values,
        "program": attempt.program,
        "failure": attempt.failure,
        "captured": attempt.captured,
    }
    graph = pack(attempt.right) if attempt.right is not None else {}
    return {"attempt.json": json.dumps(said).encode(), **graph}


def pack(made: Exported) -> dict[str, bytes]:
    """The files of a cache entry that hold a graph."""
    said = {"outputs": made.outputs, "route": made.route, "rewrites": made.rewrites}
    return {
        "about.json": json.dumps(said).encode(),
        "fixed.npz": packed(made.fixed),
        "base.npz": packed(made.base),
        "model.onnx": made.model,
    }


def unpack(parts: Mapping[str, bytes]) -> Exported:
    """The graph that `pack` stored."""
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
    """Named arrays as one npz file."""
    stream = io.BytesIO()
    # Stored under numbers: a tensor's name may hold characters that a file's name may not.
    np.savez(stream, *arrays.values(), names=np.array(list(arrays), dtype=str))
    return stream.getvalue()


def unpacked(data: bytes) -> Arrays:
    """The named arrays that `packed` stored."""
    with np.load(io.BytesIO(data)) as held:
        return {str(name): held[f"arr_{i}"] for i, name in enumerate(held["names"])}
