"""Observed module: a model that returns each tensor at the border of a submodule too.

Any backend prepares it as it prepares the model; with one inference it is known where the numbers
go wrong first.
"""

from __future__ import annotations

import inspect
from typing import Any

from harness.diagnosis.events import Event, Side, watching


def observed_module(module: Any, *, plain_attention: bool) -> Any:
    """A module whose forward takes the model's arguments and returns tensors by event.

    A tensor that several submodules hand on is returned once, for the first of its events; the
    model's own outputs are returned in any case.

    Args:
        module: the model, a `torch.nn.Module`.
        plain_attention: whether its attention may be chosen: the reference's is plain arithmetic.
    """
    import torch
    from torch.utils import _pytree

    class ObservedModule(torch.nn.Module):
        """The model, with the tensors between its submodules as further outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.plain_attention = plain_attention

        def set_attn_implementation(self, choice: str) -> None:
            """The model's choice of attention, where it may be chosen."""
            if self.plain_attention:
                self.module.set_attn_implementation(choice)

        def set_experts_implementation(self, choice: str) -> None:
            """The model's choice of how experts are computed."""
            self.module.set_experts_implementation(choice)

    def forward(self: Any, **given: Any) -> dict[str, Any]:
        """Tensors by the key of their event, in the order of execution."""
        found: dict[str, Any] = {}
        seen: dict[tuple[int, int], Any] = {}  # with the tensors, whose numbers stay taken so

        def keep(path: str, call: int, side: Side, tree: Any) -> None:
            for leaf, tensor in enumerate(_pytree.tree_leaves(tree)):
                if not isinstance(tensor, torch.Tensor):
                    continue
                identity = id(tensor), version(tensor)
                if identity not in seen or (not path and side == "out"):
                    seen[identity] = tensor
                    found[Event(path, call, side, leaf).key] = tensor.clone()

        with watching(
            self.module,
            lambda path, call, given: keep(path, call, "in", given),
            lambda path, call, made: keep(path, call, "out", made),
        ):
            self.module(**given)
        return found

    parameters = inspect.signature(module.forward).parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    vars(forward)["__signature__"] = inspect.Signature([own, *parameters])
    return type("ObservedModule", (ObservedModule,), {"forward": forward})().eval()


def version(tensor: Any) -> int:
    """How often a tensor was written into; 0 where PyTorch does not count."""
    try:
        return int(tensor._version)
    except RuntimeError:  # of inference mode
        return 0
