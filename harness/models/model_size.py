"""Size of an entry at full size: parameters and bytes, from a module on PyTorch's meta device.

A tensor of the meta device has a shape and a dtype and no memory, so that a model of any size is
built in a second, without weights, hardware or network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.catalog.requirements import unmet_requirements
from harness.contract import BASE, Absent, Entry, HarnessError
from harness.models import libraries
from harness.models.forward_memory import ForwardMemory, forward_memory
from harness.models.weight_formats import FORMATS, buffer_bytes, weight_bytes
from harness.models.weights import parameter_count


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Parameters and bytes of one model.

    Attributes:
        model: the name of its class.
        config: the name of the config class, or of the class whose constructor has the defaults.
        declared: the sizes that the entry gives, as `text_config.hidden_size`; all others are
            defaults of that class.
        parameters: tied ones once.
        weight_bytes: of the parameters, scales of compressed ones included.
        buffer_bytes: of the buffers, which no parameter is.
        forward: memory of one forward pass; None where it has no answer.
        unknown: why it has none.
    """

    model: str
    config: str
    declared: tuple[str, ...]
    parameters: int
    weight_bytes: int
    buffer_bytes: int
    forward: ForwardMemory | None = None
    unknown: str = ""

    @property
    def total_bytes(self) -> int:
        """All that is in memory at once; without the forward pass where that has no answer."""
        used = self.weight_bytes + self.buffer_bytes
        if self.forward is None:
            return used
        return used + self.forward.cache_bytes + self.forward.activation_bytes


def measure(
    entry: Entry,
    head: str = BASE,
    dtype: str = "bf16",
    *,
    batch: int = 1,
    length: int = 4096,
    size: str = "full",
) -> ModelSize:
    """The size of an entry's model.

    Args:
        entry: the row of the model list.
        head: `base` for the headless model, or one of the entry's heads.
        dtype: one of `FORMATS`.
        batch: examples of the forward pass.
        length: tokens of its text; fewer are run where the model has no positions for so many.
        size: `full` for the sizes that the entry declares, or `tiny`.

    Raises:
        Absent: this environment lacks the entry's library, or its version of it the architecture.
        HarnessError: the library refuses the full config, or to build it on the meta device.
    """
    import torch

    chosen = FORMATS[dtype]
    config, module = built(entry, head, size)
    forward, unknown = None, ""
    library = libraries.library(entry.library)
    try:
        forward = forward_memory(library, config, module, chosen.dtype, batch=batch, length=length)
    except Exception as error:  # whatever modeling code says to inputs without values
        unknown = _first_line(error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex buffers lose their imaginary part, as anywhere
        module.to(getattr(torch, chosen.dtype))
    name = type(config).__name__
    return ModelSize(
        model=type(module).__name__,
        config=entry.architecture if name == "SimpleNamespace" else name,
        declared=tuple(sizes_in(entry.config)),
        parameters=parameter_count(module),
        weight_bytes=weight_bytes(module, chosen),
        buffer_bytes=buffer_bytes(module),
        forward=forward,
        unknown=unknown,
    )


def built(entry: Entry, head: str, size: str) -> tuple[Any, Any]:
    """An entry's config at a size, and its float32 module on the meta device, in evaluation mode.

    Raises:
        Absent: this environment lacks the entry's library, or its version of it the architecture.
        HarnessError: the library refuses the config, or to build it on the meta device.
    """
    unmet = unmet_requirements(entry)
    if unmet:
        raise Absent(unmet)
    library = libraries.library(entry.library)
    import torch

    try:
        with torch.device("meta"), torch.no_grad():
            config = library.config(entry.architecture, entry.config, size, head)
            return config, library.module(entry.architecture, config, head).eval()
    except (Absent, HarnessError):
        raise
    except Exception as error:  # whatever the library says to a config that it cannot build
        raise HarnessError(
            f"expected {entry.library} to build {entry.name} at its {size} size on the meta "
            f"device, found {_first_line(error)}. Fix: give the entry's `config` what it "
            "lacks, or ask for another entry"
        ) from error


def _first_line(error: Exception) -> str:
    said = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def sizes_in(given: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """The names of whole numbers in an entry's `config`, those of its parts with a dot.

    Args:
        given: the config.
        where: the prefix of the names.
    """
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from sizes_in(value, f"{where}{name}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{where}{name}"
