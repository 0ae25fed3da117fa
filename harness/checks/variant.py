"""A variant of a case's inputs with the reference on it, and the variants that a model takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.contract import Arrays, LibraryFault

#: Why a variant of other shapes is left out where a backend's programs are not dynamic.
ONE_SHAPE = "the backend's programs take one shape"

#: Why a variant with arguments that the plain inputs lack is left out.
OTHER_ARGUMENTS = "the backend's programs take the arguments of the plain inputs"


@dataclass(frozen=True, slots=True)
class Variant:
    """A further input, and what the reference gives on it."""

    name: str
    inputs: Arrays
    outputs: Arrays
    real: Arrays = field(default_factory=dict)  # output -> which elements count; all, if not named


@dataclass(slots=True)
class Variants:
    """The variants that a model takes, and the reason why it does not take each of the others.

    Attributes:
        made: those that it takes.
        left_out: reason by name of one that it does not take.
        failed: exception of the reference by name of one that it should take.
        padding_fault: of a reference that gives padded rows something else than without padding.
    """

    made: list[Variant] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    padding_fault: LibraryFault | None = None

    def get(self, name: str) -> Variant | None:
        """The one of that name, if the model takes it."""
        return next((variant for variant in self.made if variant.name == name), None)
