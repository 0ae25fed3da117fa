"""The known-answer test of a cell: by its task, with the tokenizer of its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.catalog.exemptions import exempt_checks
from harness.catalog.heads import known_heads
from harness.checks.known_answers import speech, text
from harness.checks.known_answers.answer import NAME, KnownAnswer
from harness.checks.known_answers.rows import rows
from harness.contract import BASE, Case


def known_answer(case: Case, folder: Path) -> KnownAnswer | None:
    """The question for a model with real weights; None where there is none.

    That is so for a task without a row, an exempt architecture, a checkpoint without a tokenizer
    that this environment can read, and a model with arguments that the question says nothing of.

    Args:
        case: the model.
        folder: of its checkpoint's files.
    """
    entry = case.entry
    task = case.head if case.head != BASE else entry.task
    headless = case.head == BASE and task in known_heads()
    if headless or task not in rows() or NAME in exempt_checks(entry.architecture, case.head):
        return None
    row = rows()[task]
    tokenizer = _loaded("AutoTokenizer", folder)
    if tokenizer is None:
        return None
    if row.sound:
        extractor = _loaded("AutoFeatureExtractor", folder)
        return None if extractor is None else speech.transcript(row, case, tokenizer, extractor)
    if row.nearer:
        return text.similarity(row, case.inputs(), tokenizer)
    ask = text.masked_word if "{mask}" in row.text else text.next_word
    return ask(row, case.inputs(), tokenizer)


def _loaded(name: str, folder: Path) -> Any:
    """A tokenizer or feature extractor of transformers; None where the files are not there."""
    import transformers

    try:
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
    except Exception:  # packages that its kind of tokenizer needs, files that it lacks
        return None
