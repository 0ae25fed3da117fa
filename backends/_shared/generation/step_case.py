"""A case of one call in generation: a part of the model, its tensors and the cache's as inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backends._shared import cache_key
from backends._shared.generation import call_parts
from harness.contract import Arrays, Case

#: Part of the names of outputs that a case leaves out, and what stands for it here.
LEFT_OUT, KEPT = "attentions", "attention"


class StepModule(torch.nn.Module):
    """A module whose forward takes and returns flat tensors by name, those of a cache included.

    Args:
        part: the model, or a part of it that `generate()` calls.
        given: the arguments of the call.

    Attributes:
        returned: the paths of the outputs that the call computes; empty before `record`.
    """

    def __init__(self, part: Any, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.part = part
        self.given = given
        self.returned: tuple[str, ...] = ()

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs that are computed, by name; a number is an array of one."""
        found = call_parts.tensors_by_path(self._called(self._cloned(tensors)))
        return {output_name(path): _with_axis(found[path]) for path in self.returned}

    def set_experts_implementation(self, choice: str) -> None:
        """The part's own choice of products of experts; AttributeError where it has none."""
        self.part.set_experts_implementation(choice)

    def record(self, tensors: Mapping[str, torch.Tensor]) -> Recorded:
        """Call the part eagerly, to learn which outputs it computes and which it hands through."""
        cloned = self._cloned(tensors)
        # A tensor of inference mode has no version; there is none here.
        versions = {path: tensor._version for path, tensor in cloned.items()}
        raw = self._called(cloned)
        same = {id(t): path for path, t in cloned.items() if t._version == versions[path]}
        found = call_parts.tensors_by_path(raw)
        through = {path: same[id(t)] for path, t in found.items() if id(t) in same}
        self.returned = tuple(path for path in found if path not in through)
        return Recorded(raw, {path: found[path] for path in self.returned}, through)

    def _cloned(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The inputs by path, which the part may write into."""
        shapes = call_parts.tensors_by_path(self.given)
        return {
            path: (tensors[path] if like.ndim else tensors[path].reshape(())).clone()
            for path, like in shapes.items()
        }

    def _called(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        return self.part(**call_parts.put_together(self.given, tensors))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outputs of one call.

    Attributes:
        raw: as it came.
        computed: the tensors in it that were computed, by path.
        through: the path of an output -> that of the input which it is.
    """

    raw: Any
    computed: Mapping[str, torch.Tensor]
    through: Mapping[str, str]


class StepCase:
    """The case of one call; members that are not here are those of `Case.wrapped`.

    Args:
        case: the harness's, of the whole model.
        module: of the call.
        base: the call's tensors.
        other: those of another call of the same kind.
    """

    def __init__(self, case: Any, module: StepModule, base: Arrays, other: Arrays) -> None:
        self._case: Case = case.wrapped(module, {"base": base, "other": other})
        told = f"{call_parts.fingerprint(module.given)} {module.returned}"
        told += cache_key.code(Path(__file__).parent)
        self._name = f"{case.model_name} {hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    @property
    def model_name(self) -> str:
        """The model's class, and a digest of the call: the same for equal calls alone."""
        return self._name


def output_name(path: str) -> str:
    """The name of an output, by its path."""
    return path.replace(LEFT_OUT, KEPT)


def arrays(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Host arrays of tensors by name; a number is an array of one."""
    return {name: _with_axis(t).detach().cpu().numpy() for name, t in tensors.items()}


def _with_axis(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, a number with an axis of one: a converter takes one without for a size."""
    return tensor if tensor.ndim else tensor.reshape(1)
