"""Memory of an entry's model at full size, by the format of its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec

from harness.contract import Absent, Entry, HarnessError
from harness.models import model_size
from harness.models.model_size import ModelSize
from harness.models.weight_formats import FORMATS

#: The format of a precision that is named after none: what most backends compute in by default.
DEFAULT = "f32"


@dataclass(frozen=True, slots=True)
class SizeByFormat:
    """The sizes that are known, and why the others are not.

    Attributes:
        sizes: by format.
        unknown: why there are none; else empty.
    """

    sizes: dict[str, ModelSize] = field(default_factory=dict)
    unknown: str = ""

    def of(self, precision: str) -> ModelSize | None:
        """The size in the format of a precision."""
        return self.sizes.get(format_of(precision))


def format_of(precision: str) -> str:
    """The format of the weights in a backend's precision."""
    return precision if precision in FORMATS else DEFAULT


def size_by_format(entry: Entry, precisions: Iterable[str]) -> SizeByFormat:
    """The headless model's size at batch 1 and length 4096, in the formats of some precisions.

    Args:
        entry: the model.
        precisions: by name.
    """
    if find_spec("torch") is None:
        command = f".nox/torch-cpu/bin/python -m harness advise {entry.name}"
        return SizeByFormat(unknown=f"this environment has no PyTorch: {command} tells it")
    sizes = {}
    for name in sorted({DEFAULT, *map(format_of, precisions)}):
        try:
            sizes[name] = model_size.measure(entry, dtype=name)
        except (Absent, HarnessError) as error:
            return SizeByFormat(unknown=str(error))
    return SizeByFormat(sizes)
