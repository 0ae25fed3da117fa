"""Fake accelerator of PyTorch, `fakeacc`: PrivateUse1 in Python, which computes on the CPU.

Importing the module registers the accelerator, as a vendor's module does, once in a process.
In inference mode it makes no views of tensors from outside, as of bert's position ids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__version__ = "1.0"


class Held(torch.Tensor):
    """A tensor of the accelerator, whose values a tensor of the CPU holds."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls: type[Held], held: torch.Tensor) -> Held:
        """A tensor of the accelerator with the shape and dtype of one of the CPU."""
        made: Held = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("fakeacc", 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator."""
        return run(function, *args, **(kwargs or {}))


def on_cpu(value: Any) -> Any:
    """A tensor of the CPU, or the CPU, for one of the accelerator."""
    if isinstance(value, torch.device) and value.type == "fakeacc":
        return torch.device("cpu")
    return value.held if isinstance(value, Held) else value


def run(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operator on the CPU, and give its tensors to the accelerator."""
    given, named = tree_map(on_cpu, (args, kwargs))
    made = function(*given, **named)
    targets = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.device)]
    if any(target.type == "cpu" for target in targets):
        return made
    return tree_map(lambda each: Held(each) if isinstance(each, torch.Tensor) else each, made)


_setup_privateuseone_for_python_backend("fakeacc")
LIBRARY = torch.library.Library("_", "IMPL")
LIBRARY.fallback(run, "PrivateUse1")
