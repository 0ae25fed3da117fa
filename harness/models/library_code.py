"""Digest of the code of a PyTorch library that computes a model: part of a reference's key.

Packages of models keep one architecture beside the other in a folder `models`: transformers,
diffusers and timm do. What lies outside of that folder counts for every model of the package; in
it, the files of the model's own classes and those that they import.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

#: The folder of a package that holds one architecture beside the other.
MODELS = "models"

#: Packages of a model's classes that their version tells: compiled ones.
TOLD_BY_VERSION = frozenset({"builtins", "torch", "numpy"})


def code_digest(model: Any) -> str:
    """SHA-256 of the files that hold a model's code, as hexadecimal digits.

    Args:
        model: a `torch.nn.Module`; the classes of its submodules and of its config count.
    """
    classes = {type(module) for module in model.modules()}
    config = getattr(model, "config", None)
    names = {kind.__module__ for kind in classes} | {type(config).__module__}
    found = hashlib.sha256()
    for package in sorted({_package(name) for name in names} - TOLD_BY_VERSION):
        found.update(f"{package} {core_digest(package)}\n".encode())
    for name in sorted(_imported(names)):
        found.update(f"{name} {_file_digest(_file(name))}\n".encode())
    return found.hexdigest()


@functools.cache
def core_digest(package: str) -> str:
    """SHA-256 of a package's Python files outside of its folder of models.

    It takes about 0.1 s for transformers; the fork server computes it once for all children.

    Args:
        package: the name of a top-level package.
    """
    found = hashlib.sha256()
    path = _file(package)
    files = sorted(path.parent.rglob("*.py")) if path and path.name == "__init__.py" else [path]
    for file in files:
        inside = file.relative_to(path.parent).parts[0] == MODELS if file and path else False
        if not inside:
            found.update(_file_digest(file).encode())
    return found.hexdigest()


def _imported(names: Iterable[str]) -> set[str]:
    """Modules in a folder of models that some modules use, those themselves among them."""
    found: set[str] = set()
    waiting = [name for name in names if _among_models(name)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += (used for used in _used(name) if _among_models(used))
    return found


@functools.cache
def _used(name: str) -> frozenset[str]:
    """The modules whose classes, functions or whole names a module has imported."""
    return frozenset(_names_in(sys.modules.get(name)))


def _names_in(module: ModuleType | None) -> Iterator[str]:
    for value in list(vars(module).values()) if module is not None else []:
        if isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, type | FunctionType):
            yield value.__module__


def _among_models(name: str) -> bool:
    return name.split(".")[1:2] == [MODELS]


def _package(name: str) -> str:
    return name.partition(".")[0]


def _file(name: str) -> Path | None:
    found = getattr(sys.modules.get(name), "__file__", None)
    return Path(found) if found else None


@functools.cache
def _file_digest(path: Path | None) -> str:
    """SHA-256 of a file; empty where a module has none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""
