"""Content of the report: typed rows and totals, gathered before any of it is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.catalog.selection import Catalog, UnavailableModel
from harness.contract import Entry, Outcome
from harness.report.cause_texts import CauseText, texts
from harness.report.first_screen import FirstScreen, first_screen
from harness.results import (
    by_size,
    coverage,
    known_failures,
    operators,
    queries,
    run_history,
    totals,
)
from harness.results.by_size import SizedCell
from harness.results.causes import Cause, causes
from harness.results.coverage import WeightsTarget
from harness.results.culprit_causes import CulpritCause, culprit_causes
from harness.results.expectations import Failure
from harness.results.known_failures import FailureKey
from harness.results.merged import Gathered
from harness.results.news import news
from harness.results.operators import Operator
from harness.results.queries import CellRow, Column, RunRow
from harness.results.reader import LeftOut
from harness.results.run_changes import environment_changes
from harness.results.run_history import RunTotal, StateChange
from harness.results.totals import Total
from harness.results.uncounted import (
    Absence,
    Delisted,
    Injected,
    StoodIn,
    absences,
    delisted,
    injected,
    stood_in,
)
from harness.toolkit import checkout

#: How many cells the lists of the slowest and of the largest show.
EXTREMES = 12

#: The sizes that tiny models are compared with.
SIZES = ("wide", "full")


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One row of the matrix: an entry (or one head of it) over all columns."""

    entry: str
    head: str
    architecture: str
    listed: Entry | None
    cells: Mapping[Column, CellRow]

    @property
    def why(self) -> CellRow | None:
        """The cell whose reason says most: an unexpected one, or else one that is not absent."""
        blocked = [cell for cell in self.cells.values() if cell.outcome != Outcome.PASS]
        return min(
            blocked,
            key=lambda cell: (not cell.unexpected, cell.outcome == Outcome.ABSENT),
            default=None,
        )


@dataclass(frozen=True, slots=True)
class Family:
    """One group of the matrix with its totals by column."""

    name: str
    rows: tuple[EntryRow, ...]
    totals: Mapping[Column, Total]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A run that supplies cells of a backend, with other versions or devices than the main run."""

    backend: str
    run: int  # the number of the run that differs from the backend's main one
    main: int
    supplies: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Content of one report. Runs are numbered from 1 in the order of `runs`."""

    generated: datetime
    columns: tuple[Column, ...]
    runs: tuple[RunRow, ...]
    totals: tuple[Total, ...]
    families: tuple[Family, ...]
    unavailable: tuple[UnavailableModel, ...]
    unexpected: tuple[CellRow, ...]
    causes: tuple[Cause, ...]
    culprits: tuple[CulpritCause, ...]
    slowest: tuple[CellRow, ...]
    largest: tuple[CellRow, ...]
    measured: tuple[CellRow, ...]  # cells whose speed was measured
    absences: tuple[Absence, ...]
    stood_in: tuple[StoodIn, ...]
    injected: tuple[Injected, ...]
    delisted: tuple[Delisted, ...]
    mixtures: tuple[Mixture, ...]
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    doubts: tuple[LeftOut, ...]  # runs of a clock that was wrong
    catalog_error: str  # why the model lists could not be read; empty when they could
    first: FirstScreen
    cause_texts: tuple[CauseText, ...]  # the causes in words, the largest first
    known: Mapping[FailureKey, Failure]  # what a person wrote about a cell's failure
    every_size: tuple[CellRow, ...]  # the last results at each size of a model
    run_totals: tuple[RunTotal, ...]
    changes: tuple[StateChange, ...]  # the history of every cell
    history_runs: Mapping[int, RunRow]  # all runs with counting results, by number
    pin_changes: Mapping[int, Sequence[str]]  # by the number of the run that changed them
    operators: Mapping[Column, Sequence[Operator]]
    weights: tuple[WeightsTarget, ...]  # the policy of real weights, and how far it is reached
    sizes: Mapping[str, Sequence[SizedCell]]  # by size: cells with a result there and when tiny

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends with results."""
        return tuple(dict.fromkeys(column.backend for column in self.columns))

    @property
    def listed(self) -> int:
        """How many entries there are to run."""
        return len({row.entry for family in self.families for row in family.rows})

    def runs_of(self, backend: str) -> list[tuple[int, RunRow]]:
        """The numbered runs that supply a backend's cells, the newest first."""
        return [(at, run) for at, run in enumerate(self.runs, 1) if run.backend == backend]

    def foreign(self) -> frozenset[str]:
        """Ids of the runs that differ from their backend's main run."""
        return frozenset(self.runs[mixture.run - 1].run_id for mixture in self.mixtures)


def collect(
    gathered: Gathered,
    catalog: Catalog | None,
    catalog_error: str,
    generated: datetime,
    root: Path = checkout.ROOT,
) -> Report:
    """The content of a report on merged results.

    Args:
        gathered: the readable results, with their history.
        catalog: the model lists, or None when they could not be read.
        catalog_error: then the reason.
        generated: when, in UTC.
        root: the checkout with the expectations of the libraries.
    """
    connection = gathered.connection
    runs = queries.runs(connection)
    cells = queries.cells(connection)
    entries = {} if catalog is None else catalog.entries
    counts = totals.by_column(connection)
    found = tuple(causes(connection))
    known: Mapping[FailureKey, Failure] = {}
    if catalog is not None:
        names = {total.backend for total in counts}
        known = known_failures.known(connection, known_failures.load(root, catalog, names))
    in_words = tuple(texts(found, known))
    numbered = run_history.runs(connection)
    return Report(
        generated=generated,
        columns=tuple(queries.columns(connection)),
        runs=tuple(runs),
        totals=tuple(counts),
        families=_families(cells, totals.by_family(connection), entries),
        unavailable=() if catalog is None else tuple(catalog.unavailable.values()),
        unexpected=tuple(queries.unexpected(connection)),
        causes=found,
        culprits=tuple(culprit_causes(connection)),
        slowest=tuple(queries.slowest(connection, EXTREMES)),
        largest=tuple(queries.largest(connection, EXTREMES)),
        measured=tuple(cell for cell in cells if "median" in cell.measured),
        absences=tuple(absences(connection)),
        stood_in=tuple(stood_in(connection)),
        injected=tuple(injected(connection)),
        delisted=tuple(delisted(connection)),
        mixtures=_mixtures(runs),
        files=gathered.files,
        left_out=gathered.left_out,
        doubts=gathered.doubts,
        catalog_error=catalog_error,
        first=first_screen(generated, counts, runs, news(connection), in_words),
        cause_texts=in_words,
        known=known,
        every_size=tuple(queries.cells_of_all_sizes(connection)),
        run_totals=tuple(run_history.totals(connection)),
        changes=tuple(run_history.changes(connection)),
        history_runs=numbered,
        pin_changes=run_history.pin_changes(numbered),
        operators=operators.count(connection),
        weights=tuple(coverage.weights(list(entries.values()), connection)),
        sizes={size: both for size in SIZES if (both := by_size.compared(gathered, size))},
    )


def _families(
    cells: Sequence[CellRow], totals: Sequence[Total], entries: Mapping[str, Entry]
) -> tuple[Family, ...]:
    """The matrix: every listed entry has its row, with or without results."""
    found: dict[tuple[str, str], dict[Column, CellRow]] = {(name, "base"): {} for name in entries}
    architectures = {name: entry.architecture for name, entry in entries.items()}
    family_of = {name: entry.family for name, entry in entries.items()}
    for cell in cells:
        found.setdefault((cell.entry, cell.head), {})[cell.column] = cell
        architectures.setdefault(cell.entry, cell.architecture)
        family_of.setdefault(cell.entry, cell.family)
    heads: dict[str, list[str]] = {}
    for entry, head in found:
        heads.setdefault(entry, []).append(head)
    grouped: dict[str, list[EntryRow]] = {}
    for entry, names in heads.items():
        for head in names:
            if not found[entry, head] and len(names) > 1:
                continue  # only heads of this entry have results
            row = EntryRow(
                entry, head, architectures[entry], entries.get(entry), found[entry, head]
            )
            grouped.setdefault(family_of[entry], []).append(row)
    by_family: dict[str, dict[Column, Total]] = {}
    for total in totals:
        by_family.setdefault(total.family, {})[total.column] = total
    return tuple(
        Family(name, tuple(grouped[name]), by_family[name]) for name in by_family if name in grouped
    )


def _mixtures(runs: Sequence[RunRow]) -> tuple[Mixture, ...]:
    """Runs whose environment or device is not that of their backend's main run.

    The main run is the one that supplies most of the cells that count.
    """
    found: list[Mixture] = []
    for backend in dict.fromkeys(run.backend for run in runs):
        own = [(at, run) for at, run in enumerate(runs, 1) if run.backend == backend]
        main_at, main = max(own, key=lambda pair: pair[1].supplies)
        for at, run in own:
            differences = _differences(run, main)
            if differences:
                found.append(Mixture(backend, at, main_at, run.supplies, differences))
    return tuple(found)


def _differences(run: RunRow, main: RunRow) -> tuple[str, ...]:
    """Versions, device and seed that two runs differ in, as `transformers 5.22.0, not 5.23.0`."""
    changes = environment_changes(main, run)
    return tuple(f"{change.name} {change.after}, not {change.before}" for change in changes)
