"""A model as it is built at a size: its config beside the published one, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.contract import Arrays, Entry
from harness.models import libraries, live_memory, model_size
from harness.models import outputs as outputs_
from harness.models.case import BATCH, LENGTH, TinyCase
from harness.models.eager_reference import tensors
from harness.models.forward_memory import options_of
from harness.models.shrink.changes import FieldChange, changes
from harness.models.weights import parameter_count
from harness.toolkit import fingerprints


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape and dtype of an input or an output."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownModel:
    """One model at a size.

    Attributes:
        model: the name of its class.
        config: the name of the config class; empty where the library has none.
        parameters: tied ones once.
        published_parameters: of the model at full size; None where the library cannot build it.
        inputs: of the plain example, by forward-argument name.
        outputs: by name.
        changed: fields of the config that differ from the published one.
        unknown: why the published config, inputs or outputs are missing; empty where none is.
    """

    model: str
    config: str
    parameters: int
    published_parameters: int | None
    inputs: Mapping[str, ArraySpec] = field(default_factory=dict)
    outputs: Mapping[str, ArraySpec] = field(default_factory=dict)
    changed: tuple[FieldChange, ...] = ()
    unknown: str = ""


def shown_model(entry: Entry, head: str, size: str, seed: int = 0) -> ShownModel:
    """A model at a size; a tiny one is built and run, others stand on PyTorch's meta device.

    Args:
        entry: the row of the model list.
        head: `base` for the headless model, or one of the entry's heads.
        size: `tiny`, `wide` or `full`.
        seed: of weights and inputs.

    Raises:
        Absent: this environment lacks the entry's library, or its version of it the architecture.
        HarnessError: the entry sets a field that does not exist, or the library refuses the config.
    """
    unknown = ""
    inputs: Mapping[str, ArraySpec] = {}
    outputs: Mapping[str, ArraySpec] = {}
    if size == "tiny":
        case = TinyCase(entry, seed, size, head)
        config, model, parameters = case.config(), case.model_name, case.parameters()
        given = case.inputs()
        inputs = _specs(given)
        try:
            outputs = _specs(case.reference(given, "float32"))
        except Exception as error:  # whatever the modeling code says
            unknown = f"outputs: {type(error).__name__}: {_line(error)}"
    else:
        config, module = model_size.built(entry, head, size)
        model, parameters = type(module).__name__, parameter_count(module)
        try:
            inputs, outputs = _on_meta(entry, config, module, seed)
        except Exception as error:  # whatever the modeling code says to inputs without values
            unknown = f"inputs and outputs: {type(error).__name__}: {_line(error)}"
    changed: tuple[FieldChange, ...] = ()
    try:
        published = libraries.library(entry.library).config(
            entry.architecture, entry.config, "full", head
        )
        changed = tuple(changes(published, config, size, model))
    except Exception as error:  # some classes refuse their own defaults
        unknown = f"published config: {type(error).__name__}: {_line(error)}"
    name = type(config).__name__
    return ShownModel(
        model=model,
        config="" if name == "SimpleNamespace" else name,
        parameters=parameters,
        published_parameters=_parameters(entry, head),
        inputs=inputs,
        outputs=outputs,
        changed=changed,
        unknown=unknown,
    )


def _on_meta(
    entry: Entry, config: Any, module: Any, seed: int
) -> tuple[Mapping[str, ArraySpec], Mapping[str, ArraySpec]]:
    """Inputs and outputs of a module without memory."""
    import torch

    library = libraries.library(entry.library)
    with live_memory.watched(module):
        made = library.inputs(module, config, seed=seed, variant="base", batch=BATCH, length=LENGTH)
        raw = module(**tensors(made, torch.float32), **options_of(module, config))
        found = {
            name: ArraySpec(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in outputs_.tensors(raw).items()
        }
    return _specs(made), found


def _specs(arrays: Arrays) -> Mapping[str, ArraySpec]:
    return {name: ArraySpec(array.dtype.name, array.shape) for name, array in arrays.items()}


def _parameters(entry: Entry, head: str) -> int | None:
    try:
        return parameter_count(model_size.built(entry, head, "full")[1])
    except Exception:  # the library cannot build it without memory
        return None


def _line(error: Exception) -> str:
    return fingerprints.telling_line(fingerprints.text_of(error))
