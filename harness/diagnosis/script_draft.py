"""Draft of a standalone script: its failure, the model, and the names that its template takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contract import Backend, Precision
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import ScriptRequest
from harness.toolkit import numerics

if TYPE_CHECKING:
    from harness.models.case import TinyCase

#: The largest error that a reason expects.
_LIMIT = re.compile(r"expected at most (?P<limit>[\d.e+-]+)")


@dataclass(frozen=True, slots=True)
class ScriptDraft:
    """The parts of a script that each stage's module reads and fills in.

    Attributes:
        request: the failure, and where the script goes.
        case: the model.
        backend: on which it fails.
        precision: in which.
        inputs: arrays of the script, those in its text and those in a file.
        context: of the template, by name; added to.
        floor: the noise floor of the script's own weights, where they are not the cell's.
    """

    request: ScriptRequest
    case: TinyCase
    backend: Backend
    precision: Precision
    inputs: ScriptInputs
    context: dict[str, Any]
    floor: float = 0.0

    def limit(self, floor: float) -> float:
        """The largest error that the script allows: the failure's own, by the cell's noise floor.

        Args:
            floor: the cell's noise floor, for a reason that tells no limit.
        """
        found = _LIMIT.search(self.request.failure.reason)
        told = float(found["limit"]) if found else numerics.LIMIT * floor
        return max(told, numerics.LIMIT * self.floor)
