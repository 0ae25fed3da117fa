"""Planted faults: PyTorch on the CPU, wrong in one way for each of its precisions.

`faults.py` says of each precision what is wrong and what a cell's reason has to say of it;
`tests/fault_table.py` runs them, and docs/method.md shows which check catches which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.vendor.faults import FAULTS, Fault, FaultyProgram, Where

from backends._shared.torch.backend import MODES, CpuBackend, Mode, TorchProgram
from harness.contract import Case, GenerationRequest, Precision
from harness.models.case import TinyCase

#: The mode of `backends._shared.torch` that all of them compute in.
MODE = MODES["f32"]


class Backend(CpuBackend):
    """Implements `harness.contract.Backend`."""

    precisions = tuple(Precision(name, fault.dtype) for name, fault in FAULTS.items())

    #: Tokens that a pipeline generates; 0 for as many as the model says.
    told = 0

    def prepare(self, case: Case, precision: Precision) -> Any:
        """The small model, wrong as the precision says."""
        return self._program(case.module(), case, precision, Where.PROGRAM)

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> Any:
        """The saved model, wrong as the precision says."""
        module = type(case.module()).from_pretrained(folder)
        return self._program(module, case, precision, Where.LOADED)

    def pipeline(self, case: Case, precision: Precision) -> Any:
        """The model's answer to the other example, as if it had been raw, and that example."""
        if case.generation is not None:
            self.told = _fault(precision).told
            return super().pipeline(case, Precision("f32", "float32")) if self.told else None
        fed = case.inputs("other")
        made = self._program(case.module(), case, precision, Where.PIPELINE)(fed)
        return made if _fault(precision).bare else (made, fed)

    def generator(self, case: Case, precision: Precision) -> Any:
        """Greedy `generate()`, wrong as the precision says."""
        right = super().generator(case, Precision("f32", "float32"))
        fault = _fault(precision)

        def generate(request: GenerationRequest) -> Any:
            if fault.where is not Where.GENERATED or not fault.when(request):
                return right(request)
            if fault.damage:
                assert isinstance(case, TinyCase)
                return case.with_damaged_cache(request, fault.damage) or right(request)
            return fault.call(None, right(fault.asked(request)))

        return generate

    def _module(self, case: Case, mode: Mode) -> Any:
        """The small model, which says how many tokens it generates."""
        module = super()._module(case, mode)
        if self.told:
            module.generation_config.max_new_tokens = self.told
        return module

    def memory(self) -> Any:
        """No bytes at all, on the CPU."""
        return 0

    def _program(self, module: Any, case: Case, precision: Precision, where: Where) -> Any:
        fault = _fault(precision)
        if fault.where is not where:
            return TorchProgram(module, case, self.device, MODE)
        return fault.prepared(FaultyProgram(module, case, self.device, MODE, fault))


def _fault(precision: Precision) -> Fault:
    return FAULTS[precision.name]
