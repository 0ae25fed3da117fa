"""Cells of one backend as pytest items, so that pytest's own options select and report cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.contract import (
    ATTEMPTS,
    ATTEMPTS_PASSED,
    GREEN,
    Cell,
    CellResult,
    Outcome,
    Verdict,
)
from harness.session.failure_text import failure_text, headline
from harness.session.notes import notes
from harness.session.run import Run
from harness.toolkit import printable


class UnexpectedResult(Exception):
    """A cell whose verdict is not green; the message is the reason of its outcome."""


class CellWarning(pytest.PytestWarning):
    """A note on a cell, in pytest's summary of warnings."""


class ModelList(pytest.File):
    """One file of `model_lists/`.

    Args:
        run: whose cells are collected.
        result_of: gives the result of an item's cell; called once, as the item runs.
    """

    def __init__(
        self, *, run: Run, result_of: Callable[[CellItem], CellResult], **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.run = run
        self.result_of = result_of

    def collect(self) -> Iterator[CellItem]:
        """An item for each cell of each entry in the file that `--models` names."""
        for name, path in self.run.catalog.files.items():
            if path == self.path and name in self.run.chosen.named:
                for cell in self.run.cells(self.run.catalog.entries[name]):
                    # As a text, so that what is in brackets is parsed as pytest's cache does it.
                    nodeid = f"{self.nodeid}::{cell.id}"
                    yield CellItem.from_parent(self, name=cell.id, cell=cell, nodeid=nodeid)


class CellItem(pytest.Item):
    """One cell, and its result once the item has run."""

    def __init__(self, *, parent: ModelList, cell: Cell, **rest: Any) -> None:
        super().__init__(parent=parent, **rest)
        self.cell = cell
        self.result: CellResult | None = None
        self._list = parent

    def runtest(self) -> None:
        """Turn the cell's verdict into pytest's outcome."""
        absence = self._list.run.absence
        if absence is not None:
            pytest.skip(printable.line(str(absence), printable.KEPT_LINE))
        result = self.result = self._list.result_of(self)
        self.user_properties += [
            ("family", result.family),
            ("stage", result.stage.value),
            ("outcome", result.outcome.value),
            ("verdict", str(result.verdict)),
            *([("cause", printable.line(result.cause))] if result.cause else []),
            *(
                (metric.name, str(int(metric.value)))
                for metric in result.metrics
                if metric.name in (ATTEMPTS, ATTEMPTS_PASSED)
            ),
            *([("culprit", printable.line(result.culprit.line))] if result.culprit else []),
            *(("further", printable.line(failure.line)) for failure in result.further),
            *([("fallback", result.fallback)] if result.fallback else []),
        ]
        for note in notes(result):
            # Not `Item.warn`, which wants a line number.
            warnings.warn_explicit(f"{self.name}: {note}", CellWarning, str(self.path), 1)
        reason = printable.line(result.reason)
        if result.verdict not in GREEN:
            raise UnexpectedResult(reason)
        if result.outcome is Outcome.ABSENT:
            pytest.skip(reason)
        if result.verdict is Verdict.XFAIL:
            pytest.xfail("; and ".join(printable.line(found.line) for found in result.failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The text of a cell that is not green, without the stack of the harness."""
        if isinstance(excinfo.value, UnexpectedResult) and self.result is not None:
            return FailureReport(self.result, failure_text(self._list.run, self.result))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The model list that the cell comes from, and the cell's name."""
        return self.path, None, self.name


@dataclass(frozen=True, slots=True)
class ShortSummary:
    """The line of pytest's short summary, under the attribute name that pytest reads."""

    message: str


class FailureReport:
    """A failure as pytest prints it: the text, and one line for the short summary."""

    def __init__(self, result: CellResult, text: str) -> None:
        self.text = text
        more = f" (and {len(result.further)} more)" if result.further else ""
        self.headline = headline(result)
        self.reprcrash: ShortSummary | None
        self.reprcrash = ShortSummary(f"{self.headline}: {printable.line(result.reason)}{more}")

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: Any) -> None:
        """Write the text to a terminal."""
        for line in self.text.split("\n"):
            writer.line(line)
