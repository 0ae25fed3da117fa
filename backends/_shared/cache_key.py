"""What a converted model follows from, as pieces of a key of the harness's cache.

What a model says follows from its weights, its config, its example inputs, the code that converts
it and the versions of what that uses.
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
    """A digest of names, types, shapes and values: a conversion may keep some of each."""
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
    """The installed version of each package; empty where there is none."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
