"""A compiled model on its device: inference, and proof of placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends._shared.openvino.devices import Target
from backends._shared.openvino.placement import Support, placement
from harness.contract import Array, Arrays, Placement


@dataclass(frozen=True, slots=True)
class CompiledMetadata:
    """Names of a compiled model's ports, and the devices that support its operations.

    Attributes:
        inputs: the forward argument of each of its inputs.
        outputs: the case's name of each of its outputs.
        support: where `query_model` puts its operations.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    support: Support


class OpenVINOProgram:
    """One compiled model.

    Args:
        compiled: an `ov.CompiledModel`.
        about: its ports, and where `query_model` puts its operations.
        target: where it is meant to run.
        origin: how it came to be, for the evidence.
    """

    def __init__(self, compiled: Any, about: CompiledMetadata, target: Target, origin: str) -> None:
        self.compiled = compiled
        self.about = about
        self.target = target
        self.origin = origin
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; floating outputs in float32 or wider."""
        ports = zip(self.compiled.inputs, self.about.inputs, strict=True)
        feed = {
            index: np.asarray(inputs[name], port.get_element_type().to_dtype(), order="C")
            for index, (port, name) in enumerate(ports)
        }
        # Copies: an output's memory is the request's, and another inference writes into it.
        self._request.infer(feed)
        found = [self._request.get_output_tensor(i).data for i in range(len(self.about.outputs))]
        return {
            name: array.astype(np.float32) if array.dtype == np.float16 else array.copy()
            for name, array in zip(self.about.outputs, found, strict=True)
        }

    def placement(self) -> Placement:
        """Placement by `query_model`, operation by operation, and by the devices that executed."""
        return placement(self.compiled, self.about.support, self.target, self.origin)
