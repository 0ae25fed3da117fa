"""Localisation of a failure: the first submodule that fails, then its smallest failing operators.

Runs in a child process. A backend that ends the process costs one trial: the journal has it, and
the next child goes on (`harness.workers.localisation`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from harness.catalog import backends
from harness.cell.request import Job
from harness.cell.stages import cell_case, cell_precision
from harness.contract import (
    MOST_SCORES,
    Arrays,
    Backend,
    Case,
    Culprit,
    HarnessError,
    ModuleScore,
    Precision,
    Stage,
)
from harness.diagnosis.failing_input import check_name, references, whole_model
from harness.diagnosis.module_search import ROOT, FaultyModule, ModuleSearch
from harness.diagnosis.operator_search import FaultyOperators, OperatorPiece, OperatorSearch
from harness.diagnosis.pieces import BASE, OTHER, Pieces
from harness.diagnosis.request import LocaliseRequest
from harness.diagnosis.trial import Journal, Trial, TrialKind, Trials
from harness.diagnosis.yardstick import yardstick
from harness.models.case import TinyCase
from harness.toolkit import fingerprints, printable

#: The trial of the whole model in a journal.
WHOLE = "whole"

#: Why a fault is no operator's, though the part that has it is known.
BAKED = (
    "prepared for this input itself, it is right: the program keeps what Python computed for the "
    "example"
)


@dataclass(frozen=True, slots=True)
class Located:
    """The result of a search.

    Attributes:
        culprit: the part that fails.
        piece: its smallest failing chain of operators; None where none was found.
    """

    culprit: Culprit
    piece: OperatorPiece | None = None


def localise(request: LocaliseRequest, report: Callable[[Stage], None]) -> Culprit:
    """The culprit of a cell's failure; runs in a child.

    Args:
        request: the cell, and the journal of the trials so far.
        report: called with each stage before it is entered.

    Raises:
        HarnessError: the backend makes its own cases, or the cell has no such input.
    """
    return located(request, report).culprit


def located(request: LocaliseRequest, report: Callable[[Stage], None]) -> Located:
    """The culprit of a cell's failure, and its operators as a model; arguments as `localise`."""
    began = time.monotonic()
    stage = Stage.BUILD

    def enter(next_stage: Stage) -> None:
        nonlocal stage
        stage = next_stage
        report(stage)

    try:
        return _localised(request, enter, began)
    except HarnessError:
        raise
    except Exception as error:  # of the library, or ours: a backend's are trials
        text = fingerprints.telling_line(fingerprints.text_of(error))
        reason = printable.kept_line(f"at {stage}: {type(error).__name__}: {text}")
        prepares = len(Journal(request.journal).trials)
        return Located(Culprit("", "", evidence=reason, prepares=prepares))


def _localised(request: LocaliseRequest, report: Callable[[Stage], None], began: float) -> Located:
    job = request.job
    report(Stage.BUILD)
    spec = backends.find(job.cell.backend, job.backends_dir)
    # Parts of models are not worth a place in the cache.
    backend = backends.load(spec, {**job.options, "cache": "off"})
    precision = cell_precision(backend, job.cell.precision)
    case = cell_case(backend, job)
    if not isinstance(case, TinyCase):
        raise HarnessError(
            f"expected a backend that prepares any module, found {job.cell.backend}, which makes "
            f"its own cases: no part of a model can be prepared alone. Fix: localise "
            f"{job.cell.label} on a backend that converts the same modules"
        )
    journal = Journal(request.journal)
    trials = Trials(backend, precision, journal, request.most, float("inf"))
    report(Stage.REFERENCE)
    whole, inputs = _whole(request, backend, case, precision, trials)
    trials.deadline = time.monotonic() + request.seconds
    report(Stage.RUN)
    if whole.kind in (TrialKind.RIGHT, TrialKind.UNTESTED):
        where = f"on input {request.input!r}" if request.input else "on every input"
        reason = f"the model's outputs are {whole.line} {where}"
        found = Culprit("", "", input=request.input, evidence=reason, prepares=trials.prepares)
        return Located(found)
    pieces = Pieces(case, inputs, whole.input)
    module = ModuleSearch(pieces, whole, trials).found()
    if module.cut_short and module.place == ROOT:
        reason = f"the search was over its limits after {trials.prepares} prepares"
        found = Culprit("", "", input=whole.input, evidence=reason, prepares=trials.prepares)
        return Located(found)
    operators = FaultyOperators("", "")
    if module.alone is not None and not trials.over:
        operators = _operators(pieces, module, trials)
    elapsed = time.monotonic() - began
    culprit = _culprit(job, pieces, whole, module, operators, trials.prepares, elapsed)
    return Located(culprit, operators.piece)


def _whole(
    request: LocaliseRequest, backend: Backend, case: Case, precision: Precision, trials: Trials
) -> tuple[Trial, Mapping[str, Arrays]]:
    """How the whole model fails, and the inputs that matter."""
    known = trials.journal.trials.get(WHOLE)
    if known is not None and known.input in (BASE, OTHER):
        return known, {name: case.inputs(name) for name in (BASE, OTHER)}
    if request.input in (BASE, OTHER):
        inputs = {name: case.inputs(name) for name in (BASE, OTHER)}
        given = inputs[request.input]
        measure = partial(yardstick, case, precision, given)
        trial = partial(trials.inference, case, given, measure)
        return replace(trials.known(WHOLE, trial), input=request.input), inputs
    reference = references(request.job, backend, case, precision)
    check_name(request.input, reference.inputs)
    whole = trials.known(
        WHOLE, partial(whole_model, backend, case, precision, reference, request.input)
    )
    return whole, reference.inputs


def _operators(pieces: Pieces, module: FaultyModule, trials: Trials) -> FaultyOperators:
    """The smallest failing chain of operators in a submodule that fails alone."""
    assert module.alone is not None
    case, given = pieces.alone(module.place, itself=True)
    failing = module.alone
    if pieces.chosen != BASE:
        measure = partial(yardstick, case, trials.precision, given)
        itself = trials.known("itself", partial(trials.inference, case, given, measure))
        if itself.kind is not failing.kind:
            said = (
                BAKED
                if itself.kind is TrialKind.RIGHT
                else f"prepared for this input: {itself.line}"
            )
            return FaultyOperators("", said)
        failing = itself
    return OperatorSearch(case, given, failing, trials).found()


def _culprit(
    job: Job,
    pieces: Pieces,
    whole: Trial,
    module: FaultyModule,
    operators: FaultyOperators,
    prepares: int,
    seconds: float,
) -> Culprit:
    path, _ = module.place
    kind = pieces.kind(path)
    names = (job.cell.entry.name, job.cell.entry.architecture)
    cause = operators.text or f"{fingerprints.normalise(kind, names)} as a whole"
    if not operators.text and operators.evidence == BAKED:
        cause = f"{fingerprints.normalise(kind, names)} keeps what Python computed"
    if module.in_library:
        cause = f"{fingerprints.normalise(kind, names)} of the library, in float64 too"
    return Culprit(
        module=path,
        kind=kind,
        operator=operators.text,
        input=whole.input,
        failure=printable.kept_line(whole.reason or whole.line),
        cause=printable.kept_line(cause),
        alone=module.alone is not None,
        evidence=printable.kept_line("; ".join(_evidence(module, operators))),
        scores=_scores(pieces, module),
        prepares=prepares,
        seconds=seconds,
    )


def _evidence(module: FaultyModule, operators: FaultyOperators) -> list[str]:
    """How the culprit is known, in short sentences."""
    said = []
    if module.in_library:
        return ["PyTorch's float64 arithmetic is wrong there too: the modeling code is to blame"]
    if module.by_scores:
        said.append("first wrong tensor of one inference of the whole model")
    passed = [p for p, t in module.tried.items() if t.kind is TrialKind.RIGHT]
    if module.alone is None and not module.tried:
        said.append("the time was over before a part was tried alone")
    elif module.alone is None:
        listed = ", ".join(path or "the model" for path, _ in passed) or "none"
        said.append(f"only when all run together: alone, with its recorded inputs, right: {listed}")
    elif module.place == ROOT:
        right = f"; {len(passed)} submodules are right alone" if passed else ""
        said.append(f"in the model's own code{right}")
    else:
        said.append(f"alone, with its recorded inputs: {module.alone.line}")
    if module.cut_short:
        said.append("the time was over before all submodules within it were tried")
    if operators.text:
        said.append(f"{operators.text}: {operators.evidence}")
    elif operators.evidence:
        said.append(operators.evidence)
    return said


def _scores(pieces: Pieces, module: FaultyModule) -> list[ModuleScore]:
    """The scores of the calls around the culprit, beside it and within it."""
    around = [module.place]
    while (caller := pieces.calls[around[-1]].caller) is not None:
        around.append(caller)
    near = {*around}
    shown = [
        place for place in module.scores if place in near or pieces.calls[place].caller in near
    ]
    shown.sort(key=list(pieces.calls).index)
    found = []
    for place in shown[:MOST_SCORES]:
        score = module.scores[place]
        found.append(ModuleScore(place[0], pieces.kind(place[0]), pieces.depth(place), score))
    return found
