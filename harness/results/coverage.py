"""Coverage: how much of the model lists has been run and passes, by the last results.

The unit is the entry. Of each backend there are four counts, each a part of the one before: the
entries that are listed, those that are **applicable**, those that were **run**, and those that
**pass**: every cell of the entry that ran passed, in each head. Applicable is an entry that the
backend's `models` name (every entry where `backend.toml` has no `models`), unless a run found that
the entry's own `requires` rule the environment out.

All of it is counted for each precision of a backend, and once over all of its precisions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.catalog import policy
from harness.catalog.selection import ALL, Catalog
from harness.contract import BASE, PRIORITIES, REAL_WEIGHTS, Entry, Outcome, Priority
from harness.results import merged, queries
from harness.results.expectations import DECLARED_ABSENT
from harness.results.queries import CellRow, Column, Connection

#: In place of a precision: all of them together.
EVERY = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of entries, each a part of the one before."""

    entries: int
    applicable: int
    run: int
    passed: int


@dataclass(frozen=True, slots=True)
class Ways:
    """Counts of a backend's passing cells: in all, and of those through each way of use."""

    backend: str
    precision: str  # or EVERY
    headless: int
    heads: int
    pretrained: int  # from_pretrained()
    pipelines: int
    generated: int  # generate(), or another loop


@dataclass(frozen=True, slots=True)
class BackendCoverage:
    """Coverage of one backend in one precision, or in every one: in all, by family, by priority."""

    name: str
    precision: str  # or EVERY
    emulated: bool
    models: str  # of its backend.toml: a list of its own, such as `smoke`; empty: every entry
    total: Tally
    families: Mapping[str, Tally]
    priorities: Mapping[str, Tally]
    never_run: tuple[str, ...]  # applicable entries
    ways: Ways | None  # None: no cell passes

    @property
    def partial(self) -> bool:
        """Whether some applicable entries have run here, and others never."""
        return 0 < self.total.run < self.total.applicable


@dataclass(frozen=True, slots=True)
class WeightsTarget:
    """The target of entries run with real weights, for one priority, and how many reach it."""

    priority: Priority
    entries: int
    with_checkpoint: int
    target: int
    reached: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of all backends, the target of real weights, and the entries that are left."""

    entries: int
    backends: tuple[BackendCoverage, ...]  # over every precision
    columns: tuple[BackendCoverage, ...]  # one a backend and precision; `default` if none has run
    ways: tuple[Ways, ...]  # over every precision
    weights: tuple[WeightsTarget, ...]
    never_run: Mapping[str, tuple[str, ...]]  # family -> entries that no device has run
    unavailable: Mapping[str, str]  # name -> reason


def count(catalog: Catalog, backends: Mapping[str, str], gathered: merged.Gathered) -> Coverage:
    """The coverage of the model lists by the last results.

    Args:
        catalog: the model lists.
        backends: name -> `models` of every backend, those without results included.
        gathered: the results, read with the catalog's entries.
    """
    entries = list(catalog.entries.values())
    connection = gathered.connection
    by_backend: dict[str, list[CellRow]] = {name: [] for name in backends}
    for cell in queries.cells(connection):
        by_backend.setdefault(cell.backend, []).append(cell)
    precisions: dict[str, list[str]] = {}
    for column in queries.columns(connection):
        precisions.setdefault(column.backend, []).append(column.precision)
    emulated = {run.backend for run in queries.runs(connection) if run.emulated}
    ways = _ways(connection)
    wholes: list[BackendCoverage] = []
    columns: list[BackendCoverage] = []
    seen: set[str] = set()
    for name, cells in by_backend.items():
        models = backends.get(name, "")
        meant = {entry.name for entry in catalog.select(models or ALL)}
        ran = _ran(cells)
        ruled_out = {cell.entry for cell in cells} - ran.keys()
        applicable = (meant - ruled_out) | ran.keys()
        backend = _Environment(name, models, name in emulated, entries, applicable)
        wholes.append(backend.covered(EVERY, cells, ways))
        for precision in precisions.get(name, ["default"]):
            own = [cell for cell in cells if cell.precision == precision]
            columns.append(backend.covered(precision, own, ways))
        if name not in emulated:
            seen |= ran.keys()
    missing = {
        family: tuple(
            entry.name for entry in entries if entry.family == family and entry.name not in seen
        )
        for family in catalog.families()
    }
    return Coverage(
        entries=len(entries),
        backends=tuple(wholes),
        columns=tuple(columns),
        ways=tuple(way for column, way in ways.items() if column.precision == EVERY),
        weights=tuple(weights(entries, connection)),
        never_run={family: names for family, names in missing.items() if names},
        unavailable={name: model.reason for name, model in catalog.unavailable.items()},
    )


def weights(entries: Sequence[Entry], connection: Connection) -> list[WeightsTarget]:
    """The target of entries run with real weights, for each priority that has one.

    Args:
        entries: all of the lists.
        connection: the results, brought together.
    """
    real = {
        str(row[0])
        for row in connection.execute(
            "SELECT DISTINCT entry FROM cells JOIN runs USING (run_id) JOIN metrics "
            "USING (run_id, entry, head, precision) WHERE metrics.name = ? AND metrics.value > 0 "
            "AND outcome = ? AND fallback = '' AND faults = ''",
            [REAL_WEIGHTS, Outcome.PASS.value],
        ).fetchall()
    }
    return [_weights(priority, entries, real) for priority in policy.TARGETS]


@dataclass(frozen=True, slots=True)
class _Environment:
    """One backend, and the entries that are applicable in its environment."""

    name: str
    models: str
    emulated: bool
    entries: Sequence[Entry]
    applicable: Collection[str]

    def covered(
        self, precision: str, cells: Iterable[CellRow], ways: Mapping[Column, Ways]
    ) -> BackendCoverage:
        """The coverage by the cells of one precision, or by all cells of the backend."""
        ran = _ran(cells)

        def tally(entries: Iterable[Entry]) -> Tally:
            return _tally([entry.name for entry in entries], self.applicable, ran)

        families = dict.fromkeys(entry.family for entry in self.entries)
        return BackendCoverage(
            name=self.name,
            precision=precision,
            emulated=self.emulated,
            models=self.models,
            total=tally(self.entries),
            families={
                family: tally(entry for entry in self.entries if entry.family == family)
                for family in families
            },
            priorities={
                priority: tally(entry for entry in self.entries if entry.priority == priority)
                for priority in PRIORITIES
            },
            never_run=tuple(
                entry.name
                for entry in self.entries
                if entry.name in self.applicable and entry.name not in ran
            ),
            ways=ways.get(Column(self.name, precision)),
        )


def _ways(connection: Connection) -> dict[Column, Ways]:
    """Counts of passing cells, by the metrics that only a way of use records."""
    rows = connection.execute(
        "SELECT backend, coalesce(precision, ?), count(*) FILTER (head = ?), "
        "count(*) FILTER (head <> ?), "
        "count(*) FILTER (list_contains(names, 'wall_roundtrip')), "
        "count(*) FILTER (list_contains(names, 'pipelines')), "
        "count(*) FILTER (list_contains(names, 'wall_generate')) FROM ("
        "SELECT backend, precision, latest.head, list(metrics.name) AS names "
        "FROM latest LEFT JOIN metrics USING (run_id, entry, head, precision) WHERE outcome = ? "
        "GROUP BY backend, run_id, entry, latest.head, precision) "
        "GROUP BY GROUPING SETS ((backend), (backend, precision)) ORDER BY backend",
        [EVERY, BASE, BASE, Outcome.PASS.value],
    ).fetchall()
    found = [Ways(str(row[0]), str(row[1]), *map(int, row[2:])) for row in rows]
    return {Column(way.backend, way.precision): way for way in found}


def _tally(
    names: Sequence[str], applicable: Collection[str], ran: Mapping[str, Sequence[CellRow]]
) -> Tally:
    return Tally(
        entries=len(names),
        applicable=sum(name in applicable for name in names),
        run=sum(name in ran for name in names),
        passed=sum(
            all(cell.outcome == Outcome.PASS for cell in ran[name]) for name in names if name in ran
        ),
    )


def _ran(cells: Iterable[CellRow]) -> dict[str, list[CellRow]]:
    """Cells by entry, without those that the entry's own `requires` rule out."""
    found: dict[str, list[CellRow]] = {}
    for cell in cells:
        if cell.outcome != Outcome.ABSENT or not cell.reason.startswith(DECLARED_ABSENT):
            found.setdefault(cell.entry, []).append(cell)
    return found


def _weights(priority: Priority, entries: Sequence[Entry], real: set[str]) -> WeightsTarget:
    chosen = [entry for entry in entries if entry.priority == priority]
    return WeightsTarget(
        priority=priority,
        entries=len(chosen),
        with_checkpoint=sum(bool(entry.checkpoint) for entry in chosen),
        target=policy.target(priority, entries),
        reached=sum(entry.name in real for entry in chosen),
    )
