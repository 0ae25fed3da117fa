"""A `TorchFunctionMode` with one method to override."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class FunctionMode(TorchFunctionMode):
    """A mode whose `call` stands for every function of PyTorch while the mode is entered."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.call(func, args, dict(kwargs or {}))

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The result of a call; `func(*args, **given)` is the function's own."""
        raise NotImplementedError
