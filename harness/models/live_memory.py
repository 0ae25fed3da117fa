"""Live memory of a forward pass on PyTorch's meta device: its peak, and the bytes of its cache.

A dispatch mode sees each operator's results, and counts their storages until they are freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

#: Operators that one forward pass may have: a loop over 4096 tokens in Python has far more.
OPERATORS = 30_000

#: Bytes of a result that has values: a mask of 4096 by 4096 tokens has, one of 100 000 has none.
WITH_VALUES = 2**26


class TooManyOperators(Exception):
    """A forward pass has more operators than it may have, as by a loop over tokens in Python."""


class LiveMemory:
    """The bytes of storages that operators have made and nobody has freed.

    Tensors with memory may be mixed with those of the meta device, and the result is on the latter:
    token ids keep their values, so that branches on them go the way of a real run. A value that
    nobody knows is 1 or true, and a mask that nobody knows picks all.

    Attributes:
        bytes: live now.
        peak: the most so far.

    Args:
        module: its parameters and buffers are not counted.
        operators: the most that may run.
    """

    def __init__(self, module: Any, operators: int = OPERATORS) -> None:
        self._most = operators
        self.bytes = self.peak = self._operators = 0
        self._known = {
            tensor.untyped_storage()._cdata for tensor in [*module.parameters(), *module.buffers()]
        }
        self._live: dict[int, weakref.ref[Any]] = {}

    def restart(self) -> None:
        """Forget the peak and the operators so far."""
        self.peak, self._operators = self.bytes, 0

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run one operator of ATen, and count its results.

        Raises:
            TooManyOperators: there were too many.
        """
        import torch
        from torch.utils._pytree import tree_leaves, tree_map_only

        self._operators += 1
        if self._operators > self._most:
            raise TooManyOperators
        aten = torch.ops.aten
        if any(map(_is_meta, tree_leaves((args, kwargs)))):
            if function is aten._local_scalar_dense.default:
                return torch.ones((), dtype=args[0].dtype).item()
            if function is aten._grouped_mm.default:
                return self._result(_grouped_product(args, kwargs))
            if function is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
                kwargs = {**kwargs, "output_size": args[0].numel()}
            if function is aten.index.Tensor:
                args = (args[0], _numbered(args[1]))
            args, kwargs = tree_map_only(torch.Tensor, _on_meta, (args, kwargs))
            if kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": torch.device("meta")}
            return self._result(function(*args, **kwargs))
        large = _too_large(function, args, kwargs)
        return self._result(function(*args, **kwargs) if large is None else large)

    def _result(self, result: Any) -> Any:
        import torch
        from torch.utils._pytree import tree_leaves

        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Any) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or key in self._live:
            return

        def free(_: Any) -> None:
            self.bytes -= size
            del self._live[key]

        self._live[key] = weakref.ref(storage, free)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def fused_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, *further: Any, **options: Any
) -> Any:
    """PyTorch's attention; on the meta device, for which it has no fused kernel, without scores.

    Its kernel for CPUs takes values as wide as the queries, and a boolean mask as numbers; other
    shapes have the matrix of scores.

    Args:
        query: (batch, heads, queries, width).
        key: as PyTorch's `scaled_dot_product_attention` takes it, like all others.
        value: (batch, heads, keys, width).
        attn_mask: what a query may attend to.
        further: other arguments.
        options: other arguments.
    """
    import torch

    if not query.is_meta or query.ndim != 4 or query.shape[-1] != value.shape[-1]:
        plain = torch.nn.functional.scaled_dot_product_attention
        return plain(query, key, value, attn_mask, *further, **options)
    numbers = None if attn_mask is None else torch.empty_like(attn_mask, dtype=query.dtype)
    sums = torch.empty(query.shape[:-1], dtype=torch.float32, device="meta")
    result = torch.empty_like(query)
    del numbers, sums
    return result


@contextmanager
def watched(module: Any, operators: int = OPERATORS) -> Iterator[LiveMemory]:
    """Count the live bytes of a torch module, without gradients; see `LiveMemory`."""
    import torch
    from torch.fx.experimental import _config as symbolic
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    memory = LiveMemory(module, operators)

    class Attention(TorchFunctionMode):
        """Replaces PyTorch's attention, and lists of values that nobody knows."""

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Call one function."""
            if function is torch.nn.functional.scaled_dot_product_attention:
                function = fused_attention
            if function is torch.Tensor.tolist and args[0].is_meta:
                return torch.ones(args[0].shape, dtype=args[0].dtype, device="cpu").tolist()
            return function(*args, **(kwargs or {}))

    class Watching(TorchDispatchMode):
        """Passes operators on."""

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Run one operator."""
            return memory.run(function, args, kwargs or {})

    patched = symbolic.patch(meta_nonzero_assume_all_nonzero=True)
    with torch.no_grad(), patched, Attention(), Watching():
        yield memory


def tensor_bytes(held: Any) -> int:
    """The bytes of all tensors that an object holds, as a cache: each once, however deep.

    Args:
        held: a tensor, or a container or object with tensors in it.
    """
    import torch

    seen: set[int] = set()

    def count(value: Any) -> int:
        if id(value) in seen or isinstance(value, str | bytes | type | torch.nn.Module):
            return 0
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            return int(value.numel() * value.element_size())
        if isinstance(value, Mapping):
            return sum(map(count, value.values()))
        if isinstance(value, list | tuple | set):
            return sum(map(count, value))
        return sum(map(count, vars(value).values())) if hasattr(value, "__dict__") else 0

    return count(held)


def _is_meta(leaf: Any) -> bool:
    return bool(getattr(leaf, "is_meta", False))


def _too_large(function: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operator without its values, where these would take much memory, or None."""
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only

    given, options = tree_map_only(torch.Tensor, _on_meta, (args, kwargs))
    if options.get("device") is not None:
        options = {**options, "device": torch.device("meta")}
    try:
        result = function(*given, **options)
    except Exception:  # an operator whose shapes depend on values
        return None
    sizes = (leaf.numel() * leaf.element_size() for leaf in tree_leaves(result) if _is_meta(leaf))
    return result if sum(sizes) > WITH_VALUES else None


def _grouped_product(args: Any, kwargs: Any) -> Any:
    """A product by groups, of which PyTorch knows the shape in bfloat16 only."""
    import torch
    from torch.utils._pytree import tree_map_only

    moved = tree_map_only(torch.Tensor, _on_meta, (args, kwargs))
    args, kwargs = tree_map_only(torch.Tensor, _in_bfloat16, moved)
    return torch.ops.aten._grouped_mm.default(*args, **kwargs).to(moved[0][0].dtype)


def _in_bfloat16(tensor: Any) -> Any:
    return tensor.bfloat16() if tensor.is_floating_point() else tensor


def _numbered(indices: Sequence[Any]) -> list[Any]:
    """Indices of which those by a mask with values are numbers, so that their count is known."""
    import torch

    found: list[Any] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not index.is_meta:
            found += index.nonzero(as_tuple=True)
        else:
            found.append(index)
    return found


def _on_meta(tensor: Any) -> Any:
    return tensor if tensor.is_meta or not tensor.ndim else tensor.to("meta")
