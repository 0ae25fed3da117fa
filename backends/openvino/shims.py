"""Shims for functions of PyTorch and transformers, in place while a model is converted.

Each is one function replaced by an equal one that OpenVINO can convert; the harness compares the
result with the plain model, so that a wrong shim is a failed check.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from backends.openvino import decompositions

_python_round = round


@dataclass(frozen=True, slots=True)
class Shim:
    """A replacement: of what (`module:attribute`, `torch:Tensor.unfold`), by what, and why."""

    target: str
    replacement: Callable[..., Any]
    reason: str


def _no_packed_sequences(position_ids: Any) -> None:
    """Stand-in for the search for packed sequences: no row here holds several texts."""


def _no_exports(module: torch.nn.Module) -> bool:
    """Stand-in for the search for `torch.jit.export`, which no model here uses."""
    return False


def _round(number: Any, digits: int | None = None) -> Any:
    """Python's `round`, of a traced size too: the trace keeps its value."""
    return _python_round(number.item() if isinstance(number, torch.Tensor) else number, digits)


def _broadcast_mask(mask_function: Callable[..., Any]) -> Callable[..., Any]:
    """A mask of indices by broadcasting: batch, heads, queries and keys along an axis each."""

    def expanded(batch: Any, heads: Any, queries: Any, keys: Any) -> Any:
        mask = mask_function(
            batch[:, None, None, None],
            heads[None, :, None, None],
            queries[None, None, :, None],
            keys[None, None, None, :],
        )
        return mask.expand(batch.shape[0], -1, queries.shape[0], keys.shape[0])

    return expanded


#: Functions of libraries.
FUNCTIONS: tuple[Shim, ...] = (
    Shim(
        "builtins:round",
        _round,
        "A size is a tensor in a trace, and a tensor has no __round__.",
    ),
    Shim(
        "transformers.masking_utils:find_packed_sequence_indices",
        _no_packed_sequences,
        "It looks for several texts in one row with aten::diff, which has no conversion; the "
        "examples hold one a row.",
    ),
    Shim(
        "transformers.masking_utils:_vmap_expansion_sdpa",
        _broadcast_mask,
        "It uses torch.vmap, which PyTorch's tracer cannot follow (unordered_map::at).",
    ),
    Shim(
        "transformers.masking_utils:TransformGetItemToIndex",
        contextlib.nullcontext,
        "It makes indexing bearable for torch.vmap, by a custom function that cannot be traced.",
    ),
    Shim(
        "torch._jit_internal:module_has_exports",
        _no_exports,
        "It reads every property of every module, and some of transformers' raise: "
        "supports_context_parallel, where a config has two text configs.",
    ),
)

#: Operations of PyTorch, wherever they are called.
OPERATIONS: tuple[Shim, ...] = (
    Shim(
        "torch:cat",
        decompositions.cat,
        "A fresh DynamicLayer of transformers is an empty tensor of one dimension, which PyTorch's "
        "cat passes over; OpenVINO's wants tensors of one rank (SequenceMark, aten::cat).",
    ),
    Shim(
        "torch:Tensor.unfold",
        decompositions.unfold,
        "The conversion of aten::unfold gets the rank wrong where a dimension is dynamic.",
    ),
    Shim(
        "torch:tensor",
        decompositions.tensor,
        "A trace keeps the example's values where torch.tensor gets a list of tensors.",
    ),
    Shim(
        "torch:Tensor.__getitem__",
        decompositions.getitem,
        "AtenIndexToSelect fails on a mask that is constant, and takes the whole conversion along.",
    ),
    Shim(
        "torch:Tensor.__setitem__",
        decompositions.setitem,
        "The conversion of x[:, i, mask] = y puts the values in a wrong order, silently; see "
        "docs/upstream/openvino_masked_assignment.md.",
    ),
    Shim(
        "torch:Tensor.scatter",
        decompositions.scatter,
        "PyTorch's tracer has no schema for scatter with a truth value and ends with an internal "
        "error (alias_analysis.cpp, We don't have an op for aten::scatter).",
    ),
    Shim(
        "torch:Tensor.index_put",
        decompositions.index_put,
        "aten::index_put has no conversion where aten::index_put_ has one.",
    ),
    Shim(
        "torch:Tensor.squeeze",
        decompositions.squeeze,
        "A squeeze of a dimension whose size the converter does not know gives a dynamic rank, "
        "which the CPU plug-in refuses.",
    ),
    Shim(
        "torch:repeat_interleave",
        decompositions.repeat_interleave,
        "With a count for each row, aten::repeat_interleave becomes a Tile of dynamic rank, which "
        "the CPU plug-in refuses.",
    ),
    Shim(
        "torch:Tensor.repeat_interleave",
        decompositions.repeat_interleave,
        "As torch.repeat_interleave.",
    ),
    Shim("torch:cummax", decompositions.cummax, "aten::cummax has no conversion."),
    Shim("torch:Tensor.cummax", decompositions.cummax, "As torch.cummax."),
    Shim(
        "torch:squeeze",
        decompositions.squeeze,
        "As Tensor.squeeze.",
    ),
    Shim(
        "torch.linalg:solve_triangular",
        decompositions.solve_triangular,
        "aten::linalg_solve_triangular has no conversion.",
    ),
    Shim("torch:cummin", decompositions.cummin, "aten::cummin has no conversion."),
    Shim("torch:isin", decompositions.isin, "aten::isin has no conversion."),
    Shim("torch:conj", decompositions.conj, "aten::_conj has no conversion."),
    Shim("torch:Tensor.conj", decompositions.conj, "As torch.conj."),
    Shim(
        "torch._C._nn:pad_sequence",
        decompositions.pad_sequence,
        "aten::pad_sequence has no conversion.",
    ),
    Shim("torch:diff", decompositions.diff, "aten::diff has no conversion."),
    Shim("torch:Tensor.diff", decompositions.diff, "As torch.diff."),
    Shim("torch:nan_to_num", decompositions.nan_to_num, "aten::nan_to_num has no conversion."),
    Shim("torch:Tensor.nan_to_num", decompositions.nan_to_num, "As torch.nan_to_num."),
    Shim(
        "torch.nn.functional:mse_loss",
        decompositions.mse_loss,
        "aten::mse_loss has no conversion.",
    ),
    Shim(
        "torch.nn.functional:avg_pool2d",
        decompositions.avg_pool2d,
        "The CPU plug-in refuses a window that is wider than the picture, which ceil_mode allows.",
    ),
    Shim(
        "torch:Tensor.new_full",
        decompositions.new_full,
        "The conversion of aten::new_full fails where its size is computed.",
    ),
    Shim(
        "torch:full_like",
        decompositions.full_like,
        "PyTorch's tracer has no schema for full_like with a truth value.",
    ),
)

#: Repairs of wrong numbers. The precision `default` leaves them out: it is what a user gets.
REPAIRS: tuple[Shim, ...] = (
    Shim(
        "torch.nn.functional:scaled_dot_product_attention",
        decompositions.scaled_dot_product_attention,
        "A query that sees nothing, as padding on the left does, is NaN after OpenVINO's; see "
        "docs/upstream/openvino_left_padding.md.",
    ),
)

#: Choices of a model for which it has a setter.
CHOICES: Mapping[str, str] = {
    # The default (grouped_mm) counts tokens with aten::histc, which has no conversion.
    "set_experts_implementation": "batched_mm",
}


class DecompositionMode(TorchFunctionMode):
    """TorchFunctionMode in which some operations are computed by their decompositions.

    Assigning to the attributes of `torch.Tensor` would not do: a `__getitem__` that is Python's
    makes PyTorch take a tensor without dimensions for a list, and stays so once it is removed.
    """

    def __init__(self, operations: Sequence[Shim] = OPERATIONS) -> None:
        super().__init__()
        self.replacements = {getattr(*owner(shim)): shim.replacement for shim in operations}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement where there is one."""
        return self.replacements.get(function, function)(*args, **(kwargs or {}))


@contextlib.contextmanager
def applied(*, repaired: bool) -> Iterator[None]:
    """Context with the shims in place, and the repairs if asked; absent libraries are skipped."""
    with contextlib.ExitStack() as stack:
        for shim in FUNCTIONS:
            with contextlib.suppress(ImportError):
                stack.enter_context(mock.patch.object(*owner(shim), shim.replacement))
        stack.enter_context(DecompositionMode((*OPERATIONS, *(REPAIRS if repaired else ()))))
        yield


def owner(shim: Shim) -> tuple[Any, str]:
    """The object that has a shim's target as an attribute, and the attribute's name.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has no such attribute: this version needs another shim, or none.
    """
    name, _, path = shim.target.partition(":")
    found: Any = importlib.import_module(name)
    *outer, attribute = path.split(".")
    for part in outer:
        found = getattr(found, part)
    getattr(found, attribute)
    return found, attribute


def prepare(module: Any) -> None:
    """Make the choices on a model."""
    for setter, choice in CHOICES.items():
        function = getattr(module, setter, None)
        if function is not None:
            # Most architectures have no such choice, and each says so in its own way.
            with contextlib.suppress(ValueError, KeyError, AttributeError, NotImplementedError):
                function(choice)
