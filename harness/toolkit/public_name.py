"""Import name for other people's code: `hf_hardware_matrix`, in a checkout too.

The wheel holds `harness/` as the package `hf_hardware_matrix`, and `backends/` inside of it. A
backend of somebody else imports `hf_hardware_matrix.contract`. In a checkout, where the package is
called `harness`, an import hook answers to the public name with the very same modules, so that a
class has one identity.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

#: The package's name in the wheel.
PUBLIC = "hf_hardware_matrix"

#: The package's name here.
OWN = __name__.partition(".")[0]

#: The packages beside `harness/` that the wheel has inside of it.
INSIDE = ("backends",)


def own_name(name: str) -> str:
    """The name by which a module is imported here; a name of other packages is as it was.

    Args:
        name: dotted, as in `hf_hardware_matrix.models.preload`; what follows a colon stays.
    """
    first, dot, rest = name.partition(".")
    if first != PUBLIC or OWN == PUBLIC:
        return name
    if rest.partition(".")[0] in INSIDE:
        return rest
    return f"{OWN}{dot}{rest}"


class PublicName(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook that finds `hf_hardware_matrix.x` as the module `harness.x`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module spec of the public name; None for all other names."""
        if fullname.partition(".")[0] != PUBLIC:
            return None
        found = importlib.util.find_spec(own_name(fullname))
        if found is None:
            return None
        package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its own name, which is imported where it was not."""
        module = importlib.import_module(own_name(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which the import has replaced."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


def answer() -> None:
    """Let this process import the package by its public name. Safe to call twice."""
    known = any(isinstance(finder, PublicName) for finder in sys.meta_path)
    if OWN != PUBLIC and not known:
        sys.meta_path.insert(0, PublicName())
