"""Standalone script of the smallest chain of operators in a model that fails on a backend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.catalog import backends
from harness.cell.judgement import PLACEMENT
from harness.contract import (
    Array,
    Arrays,
    Backend,
    CellFailure,
    Culprit,
    Outcome,
    Precision,
    Stage,
    Unsupported,
    is_floating,
)
from harness.diagnosis import source_text
from harness.diagnosis.inference_script import exported_program
from harness.diagnosis.localise import located
from harness.diagnosis.operator_search import OperatorPiece
from harness.diagnosis.operator_source import OperatorSource, operator_source
from harness.diagnosis.request import LocaliseRequest
from harness.diagnosis.script import ScriptParts, template_of, write_script
from harness.diagnosis.script_draft import ScriptDraft
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import ScriptRequest, stem
from harness.diagnosis.trial import TrialKind
from harness.diagnosis.yardstick import yardstick
from harness.toolkit import numerics, printable

#: Forms of a script, in the order of their trial: values that anybody can draw, the recorded ones,
#: and the file that the backend makes of the operators.
DRAWN, RECORDED, FILE = "operators", "operators recorded", "operators exported"
FORMS = (DRAWN, RECORDED, FILE)

#: How exact the reference of a script is, in noise floors: it computes in float32 where a cell's
#: reference computes in float64.
OWN_NOISE = 1.0


@dataclass(frozen=True, slots=True)
class OperatorScriptRequest:
    """A cell whose failing operators are to be shown by a script.

    Attributes:
        search: the cell, and the journal of a search that has ended.
        folder: where the script goes.
        form: one of `FORMS`.
        seconds: after which a script calls what it runs hung.
    """

    search: LocaliseRequest
    folder: Path
    form: str
    seconds: int = 120


def write(request: OperatorScriptRequest, report: Callable[[Stage], None]) -> dict[str, Any]:
    """Write a script and its upstream report; runs in a child.

    Returns:
        `script`, `report` and `lines` as `harness.diagnosis.script.write`, and `stage`, `outcome`,
        `reason` and `cause` of the failure that the script shows; or `refused`, the reason why
        there is no script.
    """
    try:
        return _written(request, report)
    except Unsupported as error:
        return {"refused": str(error)}


def _written(request: OperatorScriptRequest, report: Callable[[Stage], None]) -> dict[str, Any]:
    found = located(request.search, report)
    if found.piece is None:
        raise Unsupported(f"no operators fail alone: {found.culprit.line}")
    report(Stage.REFERENCE)
    job = request.search.job
    spec = backends.find(job.cell.backend, job.backends_dir)
    backend = backends.load(spec, job.options)
    precision = next(p for p in backend.precisions if p.name == job.cell.precision)
    kind = "exported" if request.form == FILE else "operators"
    template = template_of(spec, kind)
    failure = failure_of(found.culprit, found.piece)
    told = ScriptRequest(
        job, failure, request.folder, request.form, request.seconds, found.culprit.operator
    )
    request.folder.mkdir(parents=True, exist_ok=True)
    parts = _parts(told, found.piece, backend, precision, kind)
    made = write_script(template, told, parts, backend.probe())
    return {
        **made,
        "stage": failure.stage.value,
        "outcome": failure.outcome.value,
        "reason": failure.reason,
        "cause": failure.cause,
    }


def failure_of(culprit: Culprit, piece: OperatorPiece) -> CellFailure:
    """The failure of a chain of operators, in the words of a cell's.

    Args:
        culprit: of the cell; its module is named as the place of the operators.
        piece: the operators.
    """
    trial = piece.trial
    module = f"{culprit.module} ({culprit.kind})" if culprit.module else culprit.kind
    place = printable.kept_line(f"; the first operators that fail in {module}")
    if trial.kind is TrialKind.WRONG:
        score = f"{culprit.operator}: score {trial.score:.3g}, expected at most {numerics.LIMIT}"
        return CellFailure(Stage.VERIFY, Outcome.FAIL, f"{score}{place}", "CheckFailed", "")
    if trial.kind is TrialKind.ELSEWHERE:
        reason = f"{PLACEMENT}{trial.reason}{place}"
        return CellFailure(Stage.VERIFY, Outcome.FAIL, reason, "CheckFailed", "")
    outcome, _, said = trial.reason.partition(": ")
    ended = outcome in (Outcome.CRASH, Outcome.TIMEOUT)
    return CellFailure(
        Stage.PREPARE,
        Outcome(outcome) if ended else Outcome.FAIL,
        f"{said if ended else trial.reason}{place}",
        trial.cause,
        "",
    )


def _parts(
    request: ScriptRequest,
    piece: OperatorPiece,
    backend: Backend,
    precision: Precision,
    kind: str,
) -> ScriptParts:
    """The parts of a script, as the templates take them."""
    placed = piece.trial.kind is TrialKind.ELSEWHERE
    compares = piece.trial.kind is TrialKind.WRONG
    context: dict[str, Any] = {"kind": kind, "backend": backend, "asked": precision}
    context |= {"precision": precision.name, "compares": compares, "placed": placed}
    context |= {"limit": None, "reference": "", "real": "", "error": "", "again": False}
    context |= {"model": "", "operators": "", "index": 0, "files": request.folder / stem(request)}
    stored: Arrays = {}
    inputs = piece.inputs
    case = piece.case
    if kind == "exported":
        draft = ScriptDraft(request, case, backend, precision, ScriptInputs(0, ()), context)
        file = exported_program(draft, inputs)
        context |= {"file": f'Path(__file__).with_suffix("{file.path.suffix}")', "inputs": ""}
        context["suffix"] = file.path.suffix
        names = ", ".join(f'"{name}": stored["{name}"]' for name in file.feed)
        context["inputs"] = source_text.wrapped(f"inputs = {{{names}}}")
        context["judged_alone"] = file.judged_alone
        stored |= file.feed
    else:
        source = operator_source(case.module(), inputs, drawn=request.form == DRAWN)
        inputs, module = _made(source, case.module(), request.job.seed)
        case = case.wrapped(module, {"base": inputs, "other": inputs})
        seed = f"torch.manual_seed({request.job.seed})\n" if "randn" in str(source) else ""
        context["operators"] = source.code
        context["inputs"] = f"{seed}model = Operators().eval()\n{source.inputs}"
        stored |= source.stored
    if compares:
        _compared(context, case, inputs, precision, stored)
    return ScriptParts([], ["torch", "numpy"], context, stored)


def _compared(
    context: dict[str, Any],
    case: Any,
    inputs: Arrays,
    precision: Precision,
    stored: Arrays,
) -> None:
    """The comparison of a script, and the largest error of right operators."""
    measured = yardstick(case, precision, inputs)
    name, want = next(iter(measured.outputs.items()))
    floor = measured.floors[name]
    if not np.isfinite(floor):
        raise Unsupported("the operators' noise floor on these values is too high to judge by")
    floating = is_floating(want)
    norm = "np.linalg.norm"
    context |= {
        "limit": f"{(numerics.LIMIT + OWN_NOISE) * floor:.2g}"
        if floating
        else max(numerics.MISMATCHED, numerics.LIMIT * measured.mismatches[name]),
        "error": f"{norm}(found - expected) / {norm}(expected)"
        if floating
        else "np.mean(found != expected)",
    }
    usable = numerics.has_value(want) if floating else np.ones(want.shape, np.bool_)
    if not usable.all():
        context["real"] = "np.isfinite(expected)"
    if context["kind"] == "exported":
        context["wide"] = want.dtype.name
        if not context["judged_alone"]:
            stored["expected"] = want
            context["reference"] = 'expected = stored["expected"]'
    else:
        context["reference"] = "with torch.no_grad():\n    expected = model(*inputs).numpy()"


def _made(source: OperatorSource, module: Any, seed: int) -> tuple[Arrays, Any]:
    """The inputs and the operators with the values that a script's text gives them."""
    import torch

    names: dict[str, Any] = {"torch": torch, "stored": source.stored}
    torch.manual_seed(seed)
    try:
        exec(f"{source.code}\nmodel = Operators().eval()\n{source.inputs}", names)
    except Exception as error:  # a value that has no source text
        raise Unsupported(f"no source text of these operators: {error}") from error
    placeholders = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    inputs: dict[str, Array] = {
        name: tensor.numpy() for name, tensor in zip(placeholders, names["inputs"], strict=True)
    }
    made = copy.deepcopy(module)
    for node in made.graph.nodes:
        if node.op == "get_attr":
            *path, last = node.target.split(".")
            owner = made.get_submodule(".".join(path))
            values = getattr(names["model"], source.attributes[node.target])
            with torch.no_grad():
                getattr(owner, last).copy_(values)
    return inputs, made
