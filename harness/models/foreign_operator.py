"""Foreign operator: a model with an operator that no SDK knows, for what a backend says to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

#: The operator's name, which an SDK that refuses it should say.
NAME = "frobnicate"


def foreign_model(model: Any, named: Callable[[Any], Mapping[str, Any]]) -> Any:
    """A torch module: the model, whose floating outputs pass through the operator, by name.

    Args:
        model: a `torch.nn.Module`.
        named: from its raw outputs to tensors by name, as `Case.tensors`.
    """
    import torch

    class ForeignModel(torch.nn.Module):
        """The model with the operator behind it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """Tensors by name."""
            operator = foreign_operator()
            found = named(self.model(*args, **kwargs))
            return {n: operator(t) if t.is_floating_point() else t for n, t in found.items()}

    return ForeignModel()


@cache
def foreign_operator() -> Any:
    """The operator: a tensor's values, doubled."""
    import torch

    def doubled(values: Any) -> Any:
        return values * 2

    operator = torch.library.custom_op(
        f"conformance::{NAME}", doubled, mutates_args=(), schema="(Tensor values) -> Tensor"
    )
    operator.register_fake(torch.empty_like)
    return operator
