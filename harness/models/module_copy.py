"""Copies of one module: what `copy.deepcopy` makes, in a fraction of the time.

A cell copies its model ten times, for each dtype of the reference and each way of use. Python's
deep copy visits every attribute of every submodule each time; pickle, which is written in C, does
so once, and rebuilds each copy from that.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any


class ModuleCopies:
    """Copies of a module that is not changed meanwhile, but for the values of its tensors.

    Args:
        module: a `torch.nn.Module`.

    Attributes:
        module: the one that is copied.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._payload: bytes | None = None
        self._tensors: list[Any] = []
        self._refused = False  # whether pickle does not take the module

    def copy(self) -> Any:
        """The module anew, with memory of its own."""
        return self._made(shared=False)

    def shared(self) -> Any:
        """The module anew: parameters of its own that hold the same memory, everything else copied.

        A cast to another dtype gives the copy memory of its own, and leaves the first module as it
        is. A write into a parameter changes both.
        """
        return self._made(shared=True)

    def _made(self, *, shared: bool) -> Any:
        if not self._refused:
            try:
                if self._payload is None:
                    self._payload = self._pickled()
                return _Rebuilding(self._payload, self._tensors, shared=shared).load()
            except Exception:  # a hook that is a closure, a parametrised weight, a weak reference
                self._refused, self._payload = True, None
        return copy.deepcopy(self.module, _shared_parameters(self.module) if shared else {})

    def _pickled(self) -> bytes:
        target = io.BytesIO()
        self._tensors = []
        _Taking(target, self._tensors).dump(self.module)
        return target.getvalue()


class _Taking(pickle.Pickler):
    """Pickles a module without its tensors, which it takes as they are."""

    def __init__(self, target: io.BytesIO, tensors: list[Any]) -> None:
        super().__init__(target, protocol=pickle.HIGHEST_PROTOCOL)
        self._tensors = tensors
        self._places: dict[int, int] = {}

    def persistent_id(self, item: Any) -> int | None:
        """The place of a tensor among those taken; None of anything else."""
        import torch

        if not isinstance(item, torch.Tensor):
            return None
        if type(item) not in (torch.Tensor, torch.nn.Parameter):
            raise pickle.PicklingError(f"{type(item)} knows itself how to be copied")
        place = self._places.get(id(item))
        if place is None:
            place = self._places[id(item)] = len(self._tensors)
            self._tensors.append(item)
        return place


class _Rebuilding(pickle.Unpickler):
    """Rebuilds a module from what this process has pickled, with tensors of its own."""

    def __init__(self, payload: bytes, tensors: list[Any], *, shared: bool) -> None:
        super().__init__(io.BytesIO(payload))
        self._tensors = tensors
        self._shared = shared
        self._made: dict[int, Any] = {}

    def persistent_load(self, pid: int) -> Any:
        """The copy of a tensor; one that several modules hold is one in the copy too."""
        if pid not in self._made:
            self._made[pid] = _copied(self._tensors[pid], shared=self._shared)
        return self._made[pid]


def _copied(tensor: Any, *, shared: bool) -> Any:
    import torch

    if isinstance(tensor, torch.nn.Parameter):
        held = tensor.detach() if shared else tensor.detach().clone()
        return torch.nn.Parameter(held, requires_grad=tensor.requires_grad and not shared)
    return copy.deepcopy(tensor)


def _shared_parameters(module: Any) -> dict[int, Any]:
    """For `copy.deepcopy`: parameters that hold the memory of a module's own, by their identity."""
    return {id(held): _copied(held, shared=True) for held in module.parameters()}
