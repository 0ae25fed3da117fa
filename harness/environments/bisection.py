"""Bisection of the versions of packages by the result of one cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.contract import HarnessError, Outcome
from harness.environments import search, session
from harness.environments.search import Answer, Boundary, Standing
from harness.environments.session import NoResults, SeenCell
from harness.environments.swapped import NotInstalled


@dataclass(frozen=True, slots=True)
class Candidate:
    """An environment that may be asked: its label, and the call that makes it."""

    label: str
    make: Callable[[], Path]  # gives its Python


@dataclass(frozen=True, slots=True)
class CellQuestion:
    """The cell that is run in each environment.

    Attributes:
        spec: the backend.
        entry: by name.
        head: `base`, or a task.
        precision: by name.
        attempts: how often to run the cell before a verdict that wavers counts.
        options: further ones of each session.
    """

    spec: BackendSpec
    entry: str
    head: str
    precision: str
    attempts: int = 3
    options: tuple[str, ...] = ()

    def seen(self, python: Path) -> SeenCell:
        """The result of the cell in an environment, run again where it fails."""
        again = ["--repeat", str(self.attempts - 1)] if self.attempts > 1 else []
        return session.cell_in(
            python, self.spec, self.entry, self.head, self.precision, [*again, *self.options]
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """The failures that tell bad from good.

    Attributes:
        looked_for: the failures that the bad end has and the good one lacks, by stage and cause.
        known: the failures of the good end.
        any_other: whether any failure that the good end lacks counts as bad.
    """

    looked_for: frozenset[tuple[str, str]]
    known: frozenset[tuple[str, str]]
    any_other: bool = False

    def judged(self, cell: SeenCell) -> Standing:
        """The verdict on one result."""
        found = _keys(cell)
        if cell.outcome == Outcome.ABSENT:
            return Standing.SKIPPED
        if found & self.looked_for:
            return Standing.BAD
        if found <= self.known:
            return Standing.GOOD
        return Standing.BAD if self.any_other else Standing.SKIPPED


@dataclass(slots=True)
class Bisection:
    """A search over environments.

    Attributes:
        question: the cell.
        any_other: whether any failure that the good end lacks counts as bad.
        tell: is told of each result, in one line.
        pythons: of the environments that were made, by the candidate's label.
    """

    question: CellQuestion
    any_other: bool = False
    tell: Callable[[str], None] = lambda line: None
    pythons: dict[str, Path] = field(default_factory=dict)

    def ends(self, good: Candidate, bad: Candidate) -> tuple[Fault, Answer, Answer]:
        """The failures that tell two ends apart, and the answers to both.

        Raises:
            HarnessError: an environment cannot be made, its session has no result, or the bad end
                has no failure that the good one lacks.
        """
        before = self._seen(good)
        known = _keys(before)
        after = self._seen(bad)
        asked = 1
        while not (looked_for := _keys(after) - known) and asked < self.question.attempts:
            after = self._seen(bad)
            asked += 1
        for candidate, cell in ((good, before), (bad, after)):
            if cell.outcome == Outcome.ABSENT:
                raise HarnessError(
                    f"expected {self.question.entry} in {candidate.label}, found none "
                    f"({cell.line}). Fix: choose an end that has it"
                )
        if not looked_for:
            raise HarnessError(
                f"expected a failure in {bad.label} that {good.label} lacks, found {after.line} "
                f"there, and {before.line} here. Fix: choose other ends, or exchange them"
            )
        fault = Fault(looked_for, known, self.any_other)
        return (
            fault,
            Answer(Standing.GOOD, before.line, wavers=before.flaky),
            Answer(Standing.BAD, after.line, asked, wavers=after.flaky or asked > 1),
        )

    def between(
        self, candidates: Sequence[Candidate], fault: Fault, good: Answer, bad: Answer
    ) -> Boundary:
        """The boundary in a row of candidates.

        Args:
            candidates: the good end first, and the bad one last.
            fault: the failures that tell bad from good.
            good: the answer to the good end.
            bad: the answer to the bad one.

        Raises:
            HarnessError: the good end is bad as well, once it is asked again.
        """
        return search.bisect(
            len(candidates),
            {0: good, len(candidates) - 1: bad},
            lambda number, times: self.ask(candidates[number], fault, times),
            self.question.attempts,
        )

    def ask(self, candidate: Candidate, fault: Fault, times: int = 1) -> Answer:
        """The answer to one candidate.

        Args:
            candidate: of the row.
            fault: the failures that tell bad from good.
            times: how often the cell must be good before the candidate is.
        """
        cells: list[SeenCell] = []
        try:
            while len(cells) < times:
                cells.append(self._seen(candidate))
                if fault.judged(cells[-1]) is not Standing.GOOD:
                    break
        except (NotInstalled, NoResults) as error:
            self.tell(f"{candidate.label}: skipped: {error}")
            return Answer(Standing.SKIPPED, str(error), len(cells) + 1)
        last = cells[-1]
        wavers = last.flaky or len({fault.judged(cell) for cell in cells}) > 1
        return Answer(fault.judged(last), last.line, len(cells), wavers)

    def _seen(self, candidate: Candidate) -> SeenCell:
        if candidate.label not in self.pythons:
            self.tell(f"{candidate.label}: environment")
            self.pythons[candidate.label] = candidate.make()
        cell = self.question.seen(self.pythons[candidate.label])
        self.tell(f"{candidate.label}: {cell.line}")
        return cell


def _keys(cell: SeenCell) -> frozenset[tuple[str, str]]:
    return frozenset(failure.key for failure in cell.failures)
