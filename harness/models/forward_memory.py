"""Memory of one forward pass on the meta device: peak of its live tensors, bytes of its cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract import Arrays
from harness.inputs import recipe_of
from harness.models import long_texts
from harness.models.eager_reference import tensors
from harness.models.libraries import Library
from harness.models.outputs import STATE

#: Lengths that a pass of too many operators is extrapolated from: Mamba's loop over tokens, say, of
#: which each takes as much.
SHORT = (24, 48)

#: Rows that a table of positions has at most beyond those that its config tells.
SPARE = 8


@dataclass(frozen=True, slots=True)
class ForwardMemory:
    """Bytes of one forward pass.

    Attributes:
        inputs: shapes by argument.
        cache_bytes: of the library's own cache after the pass, or of a state-space model's state;
            0 where it has neither.
        activation_bytes: the most that was live at once, without the cache and the inputs.
        length: of the text, which may be less than was asked for.
        extrapolated_from: lengths that were run in place of the one asked for; empty for none.
    """

    inputs: Mapping[str, tuple[int, ...]]
    cache_bytes: int
    activation_bytes: int
    length: int
    extrapolated_from: tuple[int, ...] = ()


def forward_memory(
    library: Library, config: Any, module: Any, dtype: str, *, batch: int, length: int
) -> ForwardMemory:
    """The memory of one forward pass without gradients, fused attention where the library has it.

    Args:
        library: which made `config` and `module`.
        config: of the model.
        module: on the meta device; it is in `dtype` afterwards.
        dtype: of the module and its inputs, by PyTorch's name.
        batch: examples.
        length: tokens of a text; fewer are run where the model has no positions for so many.

    Raises:
        Exception: whatever the modeling code says to values that it asks for and nobody knows.
    """
    import torch

    from harness.models import live_memory

    readable = min(length, long_texts.places(config) or length)
    if readable < length and _has_table_of(module, readable):
        length = readable

    def one_pass(at: int, operators: int) -> ForwardMemory:
        module.float()  # as are the inputs that the module's own encoders are asked about
        with live_memory.watched(module, operators):
            made = library.inputs(module, config, seed=0, variant="base", batch=batch, length=at)
        module.to(getattr(torch, dtype))
        with live_memory.watched(module, operators) as memory:
            return _measured(memory, module, config, made, dtype, at)

    try:
        return one_pass(length, live_memory.OPERATORS)
    except live_memory.TooManyOperators:
        runs = [one_pass(short, 4 * live_memory.OPERATORS) for short in SHORT]
    except Exception:  # whatever modeling code says to more tokens than it has positions for
        if readable == length:
            raise
        return one_pass(readable, live_memory.OPERATORS)
    shapes = {
        name: tuple(line(sizes, length) for sizes in zip(shape, runs[1].inputs[name], strict=True))
        for name, shape in runs[0].inputs.items()
    }
    return ForwardMemory(
        shapes,
        line([run.cache_bytes for run in runs], length),
        line([run.activation_bytes for run in runs], length),
        length,
        SHORT,
    )


def _measured(
    memory: Any, module: Any, config: Any, made: Arrays, dtype: str, length: int
) -> ForwardMemory:
    """The memory of a forward pass with these inputs.

    Args:
        memory: a `LiveMemory` that watches.
        module: of the meta device, or with memory.
        config: of the module.
        made: the inputs.
        dtype: of their floats.
        length: of their text.
    """
    import torch

    from harness.models import live_memory

    given = tensors(made, getattr(torch, dtype))
    options = options_of(module, config)
    memory.restart()
    before = memory.bytes
    result = module(**given, **options)
    peak = memory.peak - before
    state = [result[name] for name in STATE if isinstance(result, Mapping) and name in result]
    cache = live_memory.tensor_bytes(state)
    shapes = {name: tuple(array.shape) for name, array in made.items()}
    return ForwardMemory(shapes, cache, max(0, peak - cache), length)


def _has_table_of(module: Any, places: int) -> bool:
    """Whether positions are rows of an embedding, which has a few more for padding: OPT has two."""
    import torch

    tables = (m for m in module.modules() if isinstance(m, torch.nn.Embedding))
    return any(places <= table.num_embeddings <= places + SPARE for table in tables)


def options_of(module: Any, config: Any) -> Mapping[str, Any]:
    """Arguments of forward that are no arrays, with the cache that the pass fills."""
    accepted = inspect.signature(module.forward).parameters
    plain = {"use_cache": True, "return_dict": True}
    recipe = recipe_of(config, type(module).__name__)
    return {**{k: v for k, v in plain.items() if k in accepted}, **recipe.arguments}


def line(values: Sequence[int], length: int) -> int:
    """The value at a length of the straight line through those at the lengths of `SHORT`.

    Args:
        values: two.
        length: another one.
    """
    (short, longer), (first, last) = SHORT, values
    return last + (last - first) * (length - longer) // (longer - short)
