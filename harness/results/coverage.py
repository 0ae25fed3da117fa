"""How much of the model lists has been run and passes, counted from the last results.

The unit is the entry. Of each backend's environment, four counts, each a part of the one before:
the entries that are listed, those that are **applicable** (all but the ones whose own `requires`
this environment does not meet), those that were **run**, and those that **pass**: every cell of
the entry that ran there passed, in each head and precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.catalog.selection import Catalog
from harness.contract import BASE, PRIORITIES, REAL_WEIGHTS, Entry, Outcome, Priority
from harness.results import merged, queries
from harness.results.expectations import DECLARED_ABSENT
from harness.results.queries import CellRow

#: Which share of the entries of a priority should have been run with their real weights.
REAL_WEIGHTS_TARGETS: Mapping[Priority, float] = {"critical": 1.0, "high": 0.5, "medium": 0.25}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of entries, each a part of the one before."""

    entries: int
    applicable: int
    run: int
    passed: int


@dataclass(frozen=True, slots=True)
class BackendCoverage:
    """What one backend has run, over all entries, by family and by priority."""

    name: str
    emulated: bool
    total: Tally
    families: Mapping[str, Tally]
    priorities: Mapping[str, Tally]
    never_run: tuple[str, ...]  # applicable entries


@dataclass(frozen=True, slots=True)
class Ways:
    """How many cells of a backend passed, and how many of those through each way of use."""

    backend: str
    headless: int
    heads: int
    pretrained: int  # from_pretrained()
    pipelines: int
    generated: int  # generate(), or another loop


@dataclass(frozen=True, slots=True)
class WeightsTarget:
    """The policy of real weights for one priority, and where it stands. Counts of entries."""

    priority: Priority
    entries: int
    with_checkpoint: int
    target: int
    reached: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Everything that the command says."""

    entries: int
    backends: tuple[BackendCoverage, ...]
    ways: tuple[Ways, ...]
    weights: tuple[WeightsTarget, ...]
    never_run: Mapping[str, tuple[str, ...]]  # family -> entries that no device has run
    unavailable: Mapping[str, str]  # name -> reason


def count(catalog: Catalog, backends: Sequence[str], gathered: merged.Gathered) -> Coverage:
    """Counts the last results against the lists.

    Args:
        catalog: the model lists.
        backends: the names of all backends, those without results included.
        gathered: the results, read with the catalog's entries.
    """
    entries = list(catalog.entries.values())
    by_backend: dict[str, dict[str, list[CellRow]]] = {name: {} for name in backends}
    for cell in queries.cells(gathered.connection):
        by_backend.setdefault(cell.backend, {}).setdefault(cell.entry, []).append(cell)
    emulated = {run.backend for run in queries.runs(gathered.connection) if run.emulated}
    covered = tuple(
        _backend(name, name in emulated, entries, cells) for name, cells in by_backend.items()
    )
    seen = {
        name
        for backend, cells in by_backend.items()
        if backend not in emulated
        for name, rows in cells.items()
        if _ran(rows)
    }
    missing = {
        family: tuple(
            entry.name for entry in entries if entry.family == family and entry.name not in seen
        )
        for family in catalog.families()
    }
    real = {
        str(row[0])
        for row in gathered.connection.execute(
            "SELECT DISTINCT entry FROM latest JOIN metrics "
            "USING (run_id, entry, head, precision) "
            "WHERE metrics.name = ? AND metrics.value > 0 AND outcome = ?",
            [REAL_WEIGHTS, Outcome.PASS.value],
        ).fetchall()
    }
    return Coverage(
        entries=len(entries),
        backends=covered,
        ways=_ways(gathered),
        weights=tuple(_weights(priority, entries, real) for priority in REAL_WEIGHTS_TARGETS),
        never_run={family: names for family, names in missing.items() if names},
        unavailable={name: model.reason for name, model in catalog.unavailable.items()},
    )


def _ways(gathered: merged.Gathered) -> tuple[Ways, ...]:
    """Counts of passing cells by the metrics that only a way of use records."""
    rows = gathered.connection.execute(
        "SELECT backend, count(*) FILTER (head = ?), count(*) FILTER (head <> ?), "
        "count(*) FILTER (list_contains(names, 'wall_roundtrip')), "
        "count(*) FILTER (list_contains(names, 'pipelines')), "
        "count(*) FILTER (list_contains(names, 'wall_generate')) FROM ("
        "SELECT backend, latest.head, list(metrics.name) AS names FROM latest LEFT JOIN metrics "
        "USING (run_id, entry, head, precision) WHERE outcome = ? "
        "GROUP BY backend, run_id, entry, latest.head, precision) "
        "GROUP BY backend ORDER BY backend",
        [BASE, BASE, Outcome.PASS.value],
    ).fetchall()
    return tuple(Ways(str(row[0]), *map(int, row[1:])) for row in rows)


def _backend(
    name: str, emulated: bool, entries: Sequence[Entry], cells: Mapping[str, Sequence[CellRow]]
) -> BackendCoverage:
    families = dict.fromkeys(entry.family for entry in entries)
    return BackendCoverage(
        name=name,
        emulated=emulated,
        total=_tally(entries, cells),
        families={
            family: _tally([entry for entry in entries if entry.family == family], cells)
            for family in families
        },
        priorities={
            priority: _tally([entry for entry in entries if entry.priority == priority], cells)
            for priority in PRIORITIES
        },
        never_run=tuple(entry.name for entry in entries if not cells.get(entry.name)),
    )


def _tally(entries: Iterable[Entry], cells: Mapping[str, Sequence[CellRow]]) -> Tally:
    listed = applicable = run = passed = 0
    for entry in entries:
        rows = cells.get(entry.name, ())
        ran = _ran(rows)
        listed += 1
        applicable += bool(ran) or not rows
        run += bool(ran)
        passed += bool(ran) and all(row.outcome == Outcome.PASS for row in ran)
    return Tally(listed, applicable, run, passed)


def _ran(rows: Iterable[CellRow]) -> list[CellRow]:
    """The cells of an entry, without those that the entry's own `requires` rule out."""
    return [
        row
        for row in rows
        if not (row.outcome == Outcome.ABSENT and row.reason.startswith(DECLARED_ABSENT))
    ]


def _weights(priority: Priority, entries: Sequence[Entry], real: set[str]) -> WeightsTarget:
    chosen = [entry for entry in entries if entry.priority == priority]
    return WeightsTarget(
        priority=priority,
        entries=len(chosen),
        with_checkpoint=sum(bool(entry.checkpoint) for entry in chosen),
        target=math.ceil(REAL_WEIGHTS_TARGETS[priority] * len(chosen)),
        reached=sum(entry.name in real for entry in chosen),
    )
