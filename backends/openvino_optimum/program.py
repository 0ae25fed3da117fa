"""A model of optimum-intel on its device: inference as its users call it, and placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from backends.openvino_optimum.optimum_imports import ov
from harness.contract import Array, Arrays, Case, Placement

#: Attributes that hold parts of a composite model, beside its `components`.
PARTS = ("model", "text_emb_request", "text_emb_model")


class OptimumProgram:
    """One `OVModelFor...`.

    Args:
        model: exported, loaded and compiled.
        origin: how it came to be, for the evidence.
        case: names its outputs.
        device: as OpenVINO names it.
    """

    def __init__(self, model: Any, origin: str, case: Case, device: str) -> None:
        self.model = model
        self.origin = origin
        self.case = case
        self.device = device

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; outputs on the host."""
        return self.case.outputs(self.model(**tensors(inputs)))

    def placement(self) -> Placement:
        """Placement by `query_model`, part by part, and by the devices that executed."""
        ran = {d for request in compiled(self.model) for d in executed_on(request)}
        core = ov.Core()
        elsewhere: Counter[str] = Counter()
        total = 0
        for part in self.model.ov_models.values():
            placed = core.query_model(part, self.device)
            for operation in part.get_ops():
                total += 1
                where = placed.get(operation.get_friendly_name(), "no device")
                if not _same(where, self.device):
                    elsewhere[f"{operation.get_type_name()} on {where}"] += 1
        here = bool(ran) and all(_same(device, self.device) for device in ran)
        fallen = sum(elsewhere.values())
        evidence = (
            f"{type(self.model).__name__}: query_model puts {total - fallen} of {total} operations "
            f"on {self.device}; EXECUTION_DEVICES: {', '.join(sorted(ran)) or 'none'}; "
            f"{self.origin}"
        )
        return Placement(1.0 - fallen / max(1, total) if here else 0.0, evidence, dict(elsewhere))


def tensors(inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Torch tensors, as a processor with `return_tensors="pt"` makes them."""
    return {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}


def compiled(model: Any) -> Iterator[Any]:
    """The compiled models of a model and of its components."""
    for part in (model, *model.components.values()):
        for name in ("request", "text_emb_request"):
            request = getattr(part, name, None)
            if request is not None:
                yield getattr(request, "get_compiled_model", lambda r=request: r)()


def executed_on(request: Any) -> list[str]:
    """The devices that execute a compiled model."""
    found = request.get_property("EXECUTION_DEVICES")
    return [d.strip("()") for d in ([found] if isinstance(found, str) else found)]


def _same(device: str, wanted: str) -> bool:
    """Whether two names mean one device, as `GPU` and `GPU.0` do."""
    return device == wanted or device.partition(".")[0] == wanted
