"""The libraries that hold architectures; an entry names its own in one key.

A further library is one module beside this one with a class that has these methods.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.contract import BASE, Absent, Arrays, PipelineCase
from harness.models.slices import LayersWanted, Slice, usual_layers


class Library(Protocol):
    """How a library makes a config and a model of an architecture's name.

    Attributes:
        has_heads: whether it has classes for tasks beside an architecture's own model.
    """

    has_heads: bool

    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The config that a head asks for, of a size of `SIZES`; raises `Absent`."""

    def sliced(
        self,
        architecture: str,
        given: Mapping[str, Any],
        head: str = BASE,
        wanted: LayersWanted = usual_layers,
    ) -> Slice:
        """A config of published widths with some of the layers; raises `Absent`."""

    def preload(self, architecture: str) -> None:
        """Import what the architecture's model needs; what that raises is passed over."""

    def pipeline(
        self, architecture: str, head: str, inputs: Arrays, seed: int
    ) -> PipelineCase | None:
        """The components and raw input of the library's pipeline, where it has one."""

    def pretrained(
        self, architecture: str, head: str, folder: Path, *, trusted: bool = False
    ) -> Any:
        """A float32 torch module with the weights that are in a folder; raises `Absent`.

        Modeling code in that folder runs only where it is `trusted`.
        """

    def placeholders(self, module: Any, config: Any) -> tuple[int, ...]:
        """The token ids that stand for something else than text, in ascending order."""

    def module(self, architecture: str, config: Any, head: str = BASE) -> Any:
        """A torch module with the library's own initial weights; raises `Absent`."""

    def inputs(
        self, module: Any, config: Any, *, seed: int, variant: str, batch: int, length: int
    ) -> Arrays:
        """Example inputs of a module by forward-argument name.

        Args:
            module: what `module` made.
            config: what `config` made.
            seed: of the values.
            variant: another name gives other values of the same shapes.
            batch: examples.
            length: of a text or another sequence of free length.
        """


def class_of(package: Any, name: str, within: Any = None) -> Any:
    """A class of a package, or of a module `within` it.

    Raises:
        Absent: this version of the package has none of that name.
    """
    found = getattr(within or package, name, None)
    if found is None:
        raise Absent(f"{package.__name__} {package.__version__} has no class {name!r}")
    return found


def library(name: str) -> Library:
    """The module `harness.models.from_<name>`.

    Raises:
        Absent: nothing here knows how to build this library's models.
    """
    module = f"harness.models.from_{name}"
    try:
        found: Library = importlib.import_module(module).LIBRARY
    except ModuleNotFoundError as error:
        if error.name == module:
            raise Absent(f"no builder for library {name!r}: expected {module} to exist") from None
        raise Absent(f"package {error.name!r} is not installed in this environment") from None
    return found
