"""Points of the contract about other ways to a model: pipeline, generation, checkpoint, file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.cell import border
from harness.cell.conformance.finding import UncheckedError
from harness.cell.conformance.subject import Subject
from harness.cell.generating import GenerationJudge, plain_text
from harness.cell.stages import other_ways
from harness.contract import CheckFailed

#: The name of the exported file, to which a backend adds its suffix.
EXPORTED = "program"


def pipeline(subject: Subject) -> str:
    """`pipeline` returns None, or the outputs for raw input and the arrays behind them."""
    return _way(subject, "pipeline")


def generator(subject: Subject) -> str:
    """`generator` returns a text as `Generated`, with the model's own tokens and logits."""
    member: Callable[..., Any] | None = getattr(subject.backend, "generator", None)
    if member is None:
        raise UncheckedError("the backend has no generator()")
    case = subject.case
    if case.generation is None:
        raise UncheckedError("the model generates no text")
    progress = subject.new_progress()
    judge = GenerationJudge(case, case.generation, subject.reference, progress)
    text = plain_text(judge, member(case, subject.precision))
    return f"{text.sequences.shape[1]} tokens; score {progress.result.score or 0.0:.2g}"


def roundtrip(subject: Subject) -> str:
    """`from_pretrained` returns the program of a saved model."""
    return _way(subject, "from_pretrained")


def exported(subject: Subject) -> str:
    """`exported` writes the program as a file, and says what the file takes and gives."""
    member: Callable[..., Any] | None = getattr(subject.backend, "exported", None)
    if member is None:
        raise UncheckedError("the backend has no exported()")
    names = list(subject.reference.outputs["base"])
    with tempfile.TemporaryDirectory() as folder:
        found = border.exported(
            member(subject.case, subject.precision, subject.base, Path(folder) / EXPORTED), names
        )
        return f"{found.path.name}, {found.path.stat().st_size} bytes, {len(found.feed)} inputs"


def _way(subject: Subject, member: str) -> str:
    """Judge one way as a session's cell does, with no other way beside it.

    Raises:
        UncheckedError: the backend or the case does not have it.
        CheckFailed: it is wrong.
    """
    method = getattr(subject.backend, member, None)
    if method is None:
        raise UncheckedError(f"the backend has no {member}()")
    reference, first = subject.reference, subject.first
    progress = subject.new_progress()
    alone: Any = SimpleNamespace(**{member: method})
    other_ways(alone, subject.case, subject.precision, reference, first, subject.job, progress)
    if progress.result.failures:
        raise CheckFailed(progress.result.failures[0].reason)
    if progress.result.score is None:
        raise UncheckedError(f"the model has nothing for {member}()")
    return f"score {progress.result.score:.2g}"
