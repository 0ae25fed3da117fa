"""Code of a PyTorch library that computes a model: part of what a reference follows from.

Of the package's folder of models, the files of the model's own classes and those that they import.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from harness.toolkit.source_files import MODELS, SourceFiles

#: Packages of a model's classes that their version tells: compiled ones.
TOLD_BY_VERSION = frozenset({"builtins", "torch", "numpy"})

#: The digests of this process, and of every child that it forks.
_files = SourceFiles()


def code_digest(model: Any) -> str:
    """SHA-256 of the files that hold a model's code, as hexadecimal digits.

    Args:
        model: a `torch.nn.Module`; the classes of its submodules and of its config count.
    """
    return _files.together(code_labels(model))


def code_labels(model: Any) -> list[str]:
    """The files that hold a model's code, by the labels of `harness.toolkit.source_files`."""
    classes = {type(module) for module in model.modules()}
    config = getattr(model, "config", None)
    names = {kind.__module__ for kind in classes} | {type(config).__module__}
    packages = {_package(name) for name in names} - TOLD_BY_VERSION
    used = (_label(name) for name in _imported(names))
    return sorted({*(f"{package}:" for package in packages), *filter(None, used)})


def fill_caches(package: str) -> None:
    """Digest a package's own files now: the fork server does so once for all children."""
    _files.digest(f"{package}:")


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


def _label(name: str) -> str | None:
    """The label of a module's file; None of one without a file, as of a built-in module."""
    package = _package(name)
    files = (getattr(sys.modules.get(module), "__file__", None) for module in (package, name))
    root, file = (Path(found) if found else None for found in files)
    if root is None or file is None or not file.is_relative_to(root.parent):
        return None
    return f"{package}:{file.relative_to(root.parent).as_posix()}"
