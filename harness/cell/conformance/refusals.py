"""Points of the contract about what a backend cannot do: how it says so, and how it goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness.cell.conformance.finding import UncheckedError
from harness.cell.conformance.subject import Subject
from harness.contract import Absent, BrokenContract, Case, CheckFailed, Unsupported
from harness.toolkit import fingerprints, numerics

#: Message of the Absent that a case raises, which has to come through.
MISSING = "requires a package that nobody has"


class AbsentCase:
    """A case whose model this environment's pins do not have."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def module(self, *given: Any, **named: Any) -> Any:
        """Raises `Absent`."""
        raise Absent(MISSING)

    save = reference = wrapped = perturbed = module


def absent(subject: Subject) -> str:
    """An `Absent` that the case raises comes through `prepare` as it is."""
    case: Any = AbsentCase(subject.case)
    subject.first  # noqa: B018
    try:
        subject.backend.prepare(case, subject.precision)
    except Absent:
        return "Absent comes through prepare"
    except Exception as error:
        raise BrokenContract(
            "Absent", "the case's Absent to come through prepare", _said(error)
        ) from error
    raise BrokenContract("Absent", "the case's Absent to come through prepare", "a program")


def refuses(subject: Subject) -> str:
    """A model that it cannot run: right numbers, or an Exception that says what it cannot do."""
    case, first = subject.case, subject.first
    wrapped = getattr(case, "wrapped", None)
    if wrapped is None:
        raise UncheckedError("the backend makes its own cases, which take no operator")
    from harness.models.foreign_operator import NAME, foreign_model  # for real models only

    foreign: Case = wrapped(foreign_model(case.module(), case.tensors))
    want = foreign.reference(subject.base, subject.reference.dtype)
    unsaved = _fault_of_saving(foreign)
    try:
        got = subject.checked(subject.backend.prepare(foreign, subject.precision))(subject.base)
    except BrokenContract:
        raise
    except Exception as error:
        if _said(error) == unsaved:
            raise UncheckedError(
                "the backend reads saved models, and no library has this"
            ) from error
        if isinstance(error, Unsupported):
            said = f"Unsupported: {_named(error, NAME)}"
        else:
            said = f"{_named(error, NAME)}; `Unsupported` would count as unsupported, this as fail"
    else:
        found = numerics.difference(got, want)
        if numerics.is_wrong(found, subject.reference.floor, subject.reference.mismatch):
            explained = numerics.explain(found, subject.reference.floor)
            raise CheckFailed(
                f"operator {NAME}: expected the right numbers or an Unsupported, found {explained}"
            )
        said = "it runs an operator that only PyTorch knows"
    fresh = subject.checked(subject.prepare(case))
    subject.hold("base, after a model was refused", fresh(subject.base), first, subject.base)
    return said


def _fault_of_saving(case: Case) -> str:
    """Message with which a case refuses to be saved, as `_said` has it; empty where it is saved."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            case.save(Path(folder))
        except Exception as error:
            return _said(error)
    return ""


def _named(error: Exception, name: str) -> str:
    """The message of a refusal, which must say what was refused.

    Raises:
        BrokenContract: it does not.
    """
    text = fingerprints.text_of(error)
    if name not in text:
        raise BrokenContract(
            "refusal", f"a message that names the operator {name}", _said(error)
        ) from error
    line = next(each for each in text.splitlines() if name in each)
    return line.strip()


def _said(error: Exception) -> str:
    line = fingerprints.telling_line(fingerprints.text_of(error))
    return f"{type(error).__name__}: {line}" if line else f"{type(error).__name__} without a text"
