"""Parts of the cache key of a converted model: config, weights, example inputs, code, versions.

A converted model follows from these five; digests are SHA-256 in hexadecimal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Arrays


def config(found: Any) -> Any:
    """A model's config as plain data."""
    to_dict = getattr(found, "to_dict", None)
    return to_dict() if to_dict is not None else found


def weights(module: Any) -> str:
    """A digest of every parameter and buffer of a `torch.nn.Module`, saved or not."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def inputs(arrays: Arrays) -> str:
    """A digest of the names, dtypes, shapes and values of example inputs: a trace may keep each."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def code(*folders: Path) -> str:
    """A digest of the Python code in some folders and below them."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> Mapping[str, str]:
    """The installed version of each package; empty where the package is missing."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
