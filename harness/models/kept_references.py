"""References of models of published sizes, kept on the disk for a second backend or a repeat.

A reference follows from the entry, the seed, the inputs, the packages that compute it, the kind of
machine and the code of the harness: all of that is the key.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from harness.contract import Array, Arrays
from harness.toolkit import cache as caches
from harness.toolkit.checkout import PACKAGE

#: Packages whose versions are part of a key, where the model has imported them.
PACKAGES = ("torch", "transformers", "diffusers", "timm", "torch_geometric", "numpy")

#: Folders of `harness/` whose code makes models, inputs and references.
CODE = ("models", "inputs", "toolkit")


class KeptReferences:
    """Outputs by what they follow from, in a cache on the disk.

    Args:
        store: the cache.
        parts: what all outputs of one case follow from beside packages, machine and code.
    """

    def __init__(self, store: caches.Cache, **parts: object) -> None:
        self._store = store
        self._parts = parts

    def outputs(
        self, make: Callable[[], Arrays], inputs: Mapping[str, Array], **parts: object
    ) -> Arrays:
        """The kept outputs, or those that are made now and kept.

        Args:
            make: computes the outputs; what it raises is not kept.
            inputs: by argument name.
            parts: whatever else the outputs follow from.
        """
        name = caches.key(
            kind="reference",
            packages={name: version(name) for name in PACKAGES if name in sys.modules},
            environment=_environment(),
            case=self._parts,
            inputs={name: _digest(array) for name, array in inputs.items()},
            **parts,
        )
        kept = self._store.get(name)
        if kept is not None:
            return {output: _array(data) for output, data in kept.items()}
        made = make()
        self._store.put(name, {output: _bytes(array) for output, array in made.items()})
        return made


@functools.cache
def _environment() -> Mapping[str, object]:
    """Machine and code of this process."""
    code = hashlib.sha256()
    for folder in CODE:
        for path in sorted((PACKAGE / folder).rglob("*")):
            if path.suffix in {".py", ".toml"}:
                code.update(path.read_bytes())
    return {
        "machine": (platform.machine(), platform.processor(), _cpu()),
        "code": code.hexdigest(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def _cpu() -> str:
    """The processor's model, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _digest(array: Array) -> str:
    data = np.ascontiguousarray(array)
    return f"{data.dtype.str} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"


def _bytes(array: Array) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=False)
    return held.getvalue()


def _array(data: bytes) -> Array:
    found: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return found
