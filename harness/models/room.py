"""Room for a model of a published size: memory that its cell needs, before it is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil

from harness.contract import BASE, Entry, TooLarge
from harness.inputs import recipe_of
from harness.models import libraries, model_size
from harness.models.eager_reference import plain_choices
from harness.models.forward_memory import forward_memory
from harness.toolkit.signature import BATCHES, LENGTHS

#: Bytes that a cell needs beside its weights and activations: inputs, outputs, what is imported.
BESIDE = 300_000_000


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that the reference of one model needs in memory at once.

    Attributes:
        weights: of the model in float32, buffers included.
        activations: the most that one forward pass holds in float32, in plain arithmetic; 0 where
            it has no answer.
    """

    weights: int
    activations: int

    def needed(self, dtype: str) -> int:
        """Bytes with a reference in float64, or in float32 with a second copy that is moved."""
        size = {"float64": 2, "float32": 1}[dtype]
        return self.weights + size * (self.weights + self.activations) + BESIDE


def room_of(entry: Entry, head: str = BASE, size: str = "wide") -> Room:
    """The room that a model needs, from its module on the meta device.

    Args:
        entry: the row of the model list.
        head: `base` for the headless model, or one of the entry's heads.
        size: `wide` or `full`.

    Raises:
        Absent: this environment lacks the entry's library, or its version of it the architecture.
        HarnessError: the library refuses the config, or to build it on the meta device.
    """
    config, module = model_size.built(entry, head, size)
    weights = sum(4 * held.numel() for held in (*module.parameters(), *module.buffers()))
    return Room(weights, _activations(libraries.library(entry.library), config, module))


def of_parameters(count: int) -> Room:
    """The room that a model of so many parameters needs, its activations left aside."""
    return Room(4 * count, 0)


def _activations(library: libraries.Library, config: Any, module: Any) -> int:
    recipe = recipe_of(config, type(module).__name__)
    try:
        for setter, choice in plain_choices(recipe.plain_attention).items():
            if getattr(module, setter, None) is not None:
                getattr(module, setter)(choice)
    except Exception:  # most architectures have no such choice, and each says so in its own way
        pass
    try:
        found = forward_memory(
            library, config, module, "float32", batch=BATCHES[1], length=LENGTHS[1]
        )
    except Exception:  # whatever modeling code says to inputs without values
        return 0
    return found.cache_bytes + found.activation_bytes


def reference_dtype(room: Room, limit_mb: int) -> str:
    """The dtype of the reference that there is memory for: float64, or float32.

    Args:
        room: that the model needs.
        limit_mb: what the cell may take, in MB; 0 for no limit but the machine's.

    Raises:
        TooLarge: not even for one in float32; has the figures.
    """
    free = psutil.virtual_memory().available
    most = min(free, limit_mb * 1_000_000) if limit_mb else free
    for dtype in ("float64", "float32"):
        if room.needed(dtype) <= most:
            return dtype
    needed = room.needed("float32")
    fix = "a machine with more" if needed > free else f"--memory {needed // 1_000_000 + 1}"
    raise TooLarge(
        f"expected {_gb(needed)} of memory ({_gb(room.weights)} of float32 weights, "
        f"{_gb(room.activations)} of activations, and a reference in float32), found "
        f"{_gb(limit_mb * 1_000_000) if limit_mb else 'no limit'} by --memory and {_gb(free)} free "
        "on this machine. Fix: "
        f"{fix}, or --size tiny"
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
