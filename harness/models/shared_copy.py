"""Copy of a module that shares the memory of its parameters with the first one."""

from __future__ import annotations

import copy
from typing import Any


def shared_copy(module: Any) -> Any:
    """The module anew: parameters of its own that hold the same memory, everything else copied.

    A cast to another dtype gives the copy memory of its own, and leaves the first module as it is.
    A write into a parameter changes both.

    Args:
        module: a `torch.nn.Module`.
    """
    import torch

    kept = {
        id(held): torch.nn.Parameter(held.detach(), requires_grad=False)
        for held in module.parameters()
    }
    return copy.deepcopy(module, kept)
