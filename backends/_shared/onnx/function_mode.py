"""What is done with each function that PyTorch is asked to call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class FunctionMode(TorchFunctionMode):
    """While it is in force, `call` stands for every function of PyTorch's."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.call(func, args, dict(kwargs or {}))

    def call(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """What the function would return; without a mode, `func(*args, **given)`."""
        raise NotImplementedError
