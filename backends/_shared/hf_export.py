"""Export by transformers' own exporters (`transformers.exporters`), and the exported model's calls.

Follows transformers' documentation: `exporter.export(model, inputs, config)` with dynamic shapes,
`.to("cpu")`, and a call with the arguments of forward. What a model computes in Python from its
inputs, as the positions of Qwen2-VL's images, `precompute_export_inputs` adds before each call, as
the exporter does before the trace.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers.exporters.utils import precompute_export_inputs

from backends._shared.export_failed import ExportFailed, innermost_cause
from harness.contract import Array, Arrays, Case, Placement, Unsupported

#: The words by which the exporter refuses a model or its inputs.
REFUSAL = "is not supported during export"


@dataclass(frozen=True, slots=True)
class HfExport:
    """A model that transformers exported.

    Attributes:
        exported: a `transformers.exporters.ExportedModel` of one component.
        model: the PyTorch model that it was made of.
        refusal: why the export with dynamic shapes failed; empty where it did not, so that the
            shapes are dynamic.
    """

    exported: Any
    model: Any
    refusal: str

    def placed(self, found: Placement) -> Placement:
        """The placement that the runtime tells, with the kind of shapes in its evidence."""
        shapes = f"static shapes ({self.refusal})" if self.refusal else "dynamic shapes"
        return replace(
            found,
            evidence=f"{found.evidence}; {shapes}",
            counts={**found.counts, "static_shapes": int(bool(self.refusal))},
        )


def export(exporter: Any, case: Case, *, dynamic: bool = True, **settings: Any) -> HfExport:
    """The case's model, exported with dynamic shapes, or with static ones after a failure.

    Args:
        exporter: a `transformers.exporters.HfExporter`.
        case: whose module, plain inputs and options are taken.
        dynamic: whether dynamic shapes are tried.
        settings: further fields of the exporter's config.

    Raises:
        ExportFailed: no export succeeded.
        Unsupported: the exporter says that it does not export this, as a loss (`future_values` of
            PatchTST).
    """
    failures: list[tuple[str, Exception]] = []
    for kind in ("dynamic", "static") if dynamic else ("static",):
        model = case.module().eval()
        config = exporter.config_class(dynamic=kind == "dynamic", **settings)
        try:
            with quiet():
                made = exporter.export(model, {**tensors(case.inputs()), **case.options()}, config)
        except Exception as error:
            if REFUSAL in str(error):
                raise Unsupported(str(error)) from error
            failures.append((kind, error))
            continue
        return HfExport(made, model, _causes(failures) if dynamic else "asked for")
    raise ExportFailed(_causes(failures)) from failures[-1][1]


class HfProgram:
    """An exported model on its runtime, called as transformers' users call it.

    Args:
        made: the export, whose runner is loaded.
        case: gives the plain inputs and names the outputs.
        placed: tells the placement.
    """

    def __init__(self, made: HfExport, case: Case, placed: Callable[[], Placement]) -> None:
        self.made = made
        self.case = case
        self.placed = placed
        self._shapes = {name: array.shape for name, array in case.inputs().items()}

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference.

        Raises:
            ValueError: an input is missing. OpenVINO would take that of the call before.
            Unsupported: the shapes are static, and an input has another one than the plain example.
            What the runtime raises.
        """
        if missing := self._shapes.keys() - inputs.keys():
            raise ValueError(
                f"expected the inputs {', '.join(self._shapes)}, found none called "
                f"{', '.join(sorted(missing))}. Fix: give each in every call"
            )
        if self.made.refusal:
            for name, array in inputs.items():
                if array.shape != self._shapes.get(name):
                    raise Unsupported(
                        f"the export has static shapes: expected {name} as "
                        f"{self._shapes.get(name)}, found {array.shape}; {self.made.refusal}"
                    )
        given: dict[str, Any] = tensors(inputs)
        with torch.no_grad():
            precompute_export_inputs(self.made.model, given)
        return self.case.outputs(self.made.exported(**given))

    def placement(self) -> Placement:
        """The placement as the runtime tells it."""
        return self.placed()


def tensors(inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Torch tensors that hold copies of the arrays."""
    return {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}


def _causes(failures: list[tuple[str, Exception]]) -> str:
    return "; ".join(f"{kind}: {innermost_cause(error)}" for kind, error in failures)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context without warnings and standard output: `torch.onnx` prints each step there."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
