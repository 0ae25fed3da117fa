"""The small model as optimum's users see it: the arguments and outputs that its classes have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from backends.openvino_optimum import classes
from harness.contract import Array, Arrays, Case, Unsupported

#: Arguments that a model can do without. Where optimum's export has no input for one, its classes
#: drop it without a word, so that nothing is computed from it.
OPTIONAL = frozenset(
    {"attention_mask", "decoder_attention_mask", "pixel_mask", "position_ids", "token_type_ids"}
)

POSITIONS = "position_ids"


class OptimumCase:
    """The harness's case, whose reference has the outputs that optimum's class returns.

    `OVModelForFeatureExtraction` returns the last hidden state of a BERT and leaves out its pooled
    output, for instance. What optimum doesn't export keeps all its inputs and outputs. Every other
    member of `harness.contract.Case` is the wrapped one's.
    """

    def __init__(self, case: Case) -> None:
        self._case = case

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    @cached_property
    def row(self) -> classes.ClassRow | None:
        """The class of optimum-intel; None where it has none for this head."""
        try:
            return classes.row_of(self._case.head, self._case.config(), self._case.inputs())
        except Unsupported:
            return None

    @cached_property
    def _kept(self) -> frozenset[str]:
        return frozenset(classes.outputs_of(self._case.config(), self.row) if self.row else ())

    @cached_property
    def _exported(self) -> classes.ExporterPorts | None:
        return classes.exported(self._case.config(), self.row.task) if self.row else None

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Arguments of the example that the exported model has no input for."""
        given, found = self._case.inputs().keys(), self._exported
        # The exporter of a model in parts speaks of one of them.
        if found is None or not given - OPTIONAL <= found.inputs:
            return frozenset()
        return OPTIONAL & given - found.inputs

    def inputs(self, variant: str = "base") -> Arrays:
        """Example inputs, without those that the exported model has no input for."""
        return {n: a for n, a in self._case.inputs(variant).items() if n not in self.dropped}

    def outputs(self, raw: Any) -> Arrays:
        """Named host arrays of what forward returned, of the outputs that optimum's class has."""
        return self._only(self._case.outputs(raw))

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """The reference's outputs that optimum's class has."""
        return self._only(self._case.reference(self._placed(inputs), dtype, seed=seed))

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        """The reference's outputs with noise on one weight, as optimum's class has them."""
        return self._only(self._case.perturbed(self._placed(inputs), weight, scale, dtype=dtype))

    def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        """The reference's outputs with noise on all weights, as optimum's class has them."""
        return self._only(self._case.jittered(self._placed(inputs), dtype))

    def _placed(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The inputs with the positions that optimum's class makes of the mask.

        Without them a PyTorch model with absolute positions counts padding on the left.
        """
        mask = inputs.get("attention_mask")
        if (
            mask is None
            or self.row is None
            or not self.row.positions
            or self._exported is None
            or POSITIONS not in self._exported.inputs
            or POSITIONS in inputs
        ):
            return inputs
        positions = np.cumsum(mask, axis=1) - 1
        return {**inputs, POSITIONS: np.where(mask == 0, 1, positions)}

    def _only(self, outputs: Arrays) -> Arrays:
        kept = {n: a for n, a in outputs.items() if n.partition(".")[0] in self._kept}
        return kept or outputs
