"""Draft of a standalone script: its failure, the model, and the names that its template takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contract import Backend, Precision
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import ScriptRequest

if TYPE_CHECKING:
    from harness.models.case import TinyCase


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
    """

    request: ScriptRequest
    case: TinyCase
    backend: Backend
    precision: Precision
    inputs: ScriptInputs
    context: dict[str, Any]
