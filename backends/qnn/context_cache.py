"""Context binaries, the provider's compiled graphs, as entries of the harness's cache.

The emulator loads a binary of one SoC under another without complaint: the SoC is part of the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import onnxruntime_qnn

from backends._shared import cache_key
from backends._shared.onnx import graph_cache
from backends._shared.onnx.verified_export import Exported
from backends.qnn.soc import Soc
from harness.contract import Placement
from harness.toolkit import cache as caches


def key(model: str, soc: Soc, bits: int | None) -> str:
    """The cache key of a graph's context binary.

    Args:
        model: the key of the graph.
        soc: which it is compiled for.
        bits: of the activations, where the graph is quantised.
    """
    return caches.key(
        kind="qnn context",
        model=model,
        soc=soc.name,
        bits=bits,
        emulated=soc.emulated,
        provider=onnxruntime_qnn.__version__,
        code=cache_key.code(Path(__file__).parent),
    )


def pack(made: Exported, placed: Placement) -> dict[str, bytes]:
    """A compiled graph and its placement, as the parts of a cache entry."""
    return {**graph_cache.pack(made), "placement.json": json.dumps(asdict(placed)).encode()}


def unpack(parts: Mapping[str, bytes]) -> tuple[Exported, Placement]:
    """The graph and its placement, from the parts that `pack` made."""
    placed = Placement(**json.loads(parts["placement.json"]))
    evidence = f"{placed.evidence}; its context binary from the cache"
    return graph_cache.unpack(parts), replace(placed, evidence=evidence)
