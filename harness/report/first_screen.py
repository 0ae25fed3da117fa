"""First screen of a report: what a reader needs to know whether to act, for every rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.report.cause_texts import CauseText
from harness.report.words import plural
from harness.results.changed_cells import Change, Group, Kind, grouped
from harness.results.news import News
from harness.results.queries import RunRow
from harness.results.totals import Total

#: Causes on the first screen.
CAUSES = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One backend in one precision.

    Attributes:
        total: its counts.
        news: its changes; None of a column whose runs have no history.
        emulated: whether a run of it was on an emulated device.
        device: of its newest run.
        measured: when its newest run began, UTC.
    """

    total: Total
    news: News | None
    emulated: bool
    device: str
    measured: datetime


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """The first screen.

    Attributes:
        generated: when the report was written, UTC.
        lines: one a column.
        last_run: changes of every column since its run before, by kind and cause.
        last_green: changes since the last green run, likewise.
        causes: those that block most entries.
        unexpected: cells whose verdict is not green.
    """

    generated: datetime
    lines: tuple[Line, ...]
    last_run: tuple[Group, ...]
    last_green: tuple[Group, ...]
    causes: tuple[CauseText, ...]
    unexpected: int

    @property
    def newest(self) -> datetime:
        """When the newest run began, UTC."""
        return max(line.measured for line in self.lines)

    @property
    def oldest(self) -> Line:
        """The column whose newest run is the oldest of all."""
        return min(self.lines, key=lambda line: line.measured)

    @property
    def broke(self) -> int:
        """Cells that fail since the last run, newly or otherwise, and nobody expects that."""
        return sum(change.worse for group in self.last_run for change in group.changes)

    @property
    def judgement(self) -> str:
        """One sentence that says whether to act."""
        if not self.unexpected:
            return "Nothing to do: every cell is as expected."
        are = "is" if self.unexpected == 1 else "are"
        if self.broke:
            broke = plural(self.broke, "cell")
            return f"{broke} broke in the last run; {self.unexpected} in all {are} not as expected."
        told = f"{plural(self.unexpected, 'cell')} {are} not as expected"
        return f"{told}, none of them since the last run."


def first_screen(
    generated: datetime,
    totals: Sequence[Total],
    runs: Sequence[RunRow],
    found: Sequence[News],
    causes: Sequence[CauseText],
) -> FirstScreen:
    """The first screen from what the queries found.

    Args:
        generated: when, UTC.
        totals: one a column.
        runs: that supply results, of each backend the newest first.
        found: the news of the columns.
        causes: the largest first.
    """
    by_column = {one.column: one for one in found}
    newest: dict[str, RunRow] = {}
    for run in runs:
        newest.setdefault(run.backend, run)
    emulated = {run.backend for run in runs if run.emulated}
    lines = []
    for total in totals:
        run = newest[total.backend]
        told = by_column.get(total.column)
        measured = told.newest.started_at if told is not None else run.started_at
        lines.append(Line(total, told, total.backend in emulated, run.device, measured))
    before = [c for one in found if one.before is not None for c in one.before.changes]
    green = [c for one in found if one.green is not None for c in one.green.changes]
    return FirstScreen(
        generated=generated,
        lines=tuple(lines),
        last_run=_ranked(before),
        last_green=_ranked(green),
        causes=tuple(causes[:CAUSES]),
        unexpected=sum(total.unexpected for total in totals),
    )


def age(then: datetime, now: datetime) -> str:
    """The time between two moments as `3 days`, `5 h`, `12 min`."""
    seconds = max(0.0, (now.replace(tzinfo=None) - then.replace(tzinfo=None)).total_seconds())
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        count = int(seconds // length)
        if count:
            return plural(count, unit) if unit == "day" else f"{count} {unit}"
    return "1 min"


def _ranked(found: Sequence[Change]) -> tuple[Group, ...]:
    """Groups of changes: first what is worse, last what fails otherwise and is expected to fail."""
    order = list(Kind)
    groups = grouped(sorted(found, key=lambda change: order.index(change.kind)))
    return tuple(sorted(groups, key=lambda group: (not group.worse, group.kind is Kind.CHANGED)))
