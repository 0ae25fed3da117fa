"""Comparison of two sides: changed cells by cause, changed environments, and ratios of times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.contract import HarnessError, Outcome
from harness.results.changed_cells import (
    CellKey,
    Group,
    Kind,
    State,
    changes,
    common,
    grouped,
)
from harness.results.queries import CellRow
from harness.results.ratios import QUANTITIES, Quantity, Ratios, ratios
from harness.results.run_changes import RunChange, all_changes
from harness.results.side import Side
from harness.results.speed_gate import SpeedChange, judged
from harness.toolkit import typed_commands


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two sides.

    Attributes:
        before: label of the one side.
        after: label of the other.
        environments: by backend, where both sides have a run of it and these differ.
        common: how many cells were run on both sides.
        passing: how many of these pass before, and after.
        groups: the changed cells by kind and cause.
        measured: the ratios of times, memory and scores over common cells that pass.
        speeds: the times of cells that were measured on both sides of one host and device, held
            against the noise of both runs; the largest ratio first.
        remarks: lines on what was left out.
    """

    before: str
    after: str
    environments: Mapping[str, tuple[RunChange, ...]]
    common: int
    passing: tuple[int, int]
    groups: tuple[Group, ...]
    measured: tuple[Ratios, ...]
    speeds: tuple[SpeedChange, ...]
    remarks: tuple[str, ...]

    def count(self, kind: Kind) -> int:
        """How many cells changed in one way."""
        return sum(len(group.changes) for group in self.groups if group.kind is kind)

    @property
    def worse(self) -> int:
        """How many cells fail, newly or otherwise than before, and nobody expects it."""
        return sum(change.worse for group in self.groups for change in group.changes)

    @property
    def slower(self) -> int:
        """How many measured cells became slower by more than noise."""
        return len({change.key for change in self.speeds if change.slower})


def compare(before: Side, after: Side) -> Comparison:
    """The comparison of two sides.

    Raises:
        HarnessError: one side has results, and the other one expectations.
    """
    if before.expectations is not after.expectations:
        raise HarnessError(
            f"expected results on both sides, or expectations; found {before.label} and "
            f"{after.label}. Fix: a session holds results against expectations itself, and "
            f"{typed_commands.report()} shows its verdicts"
        )
    first, second = dict(before.states), dict(after.states)
    if before.expectations:
        passes = State(Outcome.PASS)
        first = {key: first.get(key, passes) for key in {**first, **second}}
        second = {key: second.get(key, passes) for key in first}
    shared = common(first, second)
    environments = {
        backend: tuple(all_changes(before.runs[backend], run))
        for backend, run in after.runs.items()
        if backend in before.runs
    }
    return Comparison(
        before.label,
        after.label,
        {backend: found for backend, found in environments.items() if found},
        len(shared),
        (sum(first[key].passes for key in shared), sum(second[key].passes for key in shared)),
        tuple(grouped(changes(first, second))),
        tuple(_measured(before.rows, after.rows)),
        tuple(_speeds(before.rows, after.rows, _apart(environments))),
        tuple(dict.fromkeys((*before.remarks, *after.remarks))),
    )


def with_kinds(found: Comparison, kinds: set[Kind]) -> Comparison:
    """The comparison with the changed cells of some kinds only."""
    return replace(found, groups=tuple(group for group in found.groups if group.kind in kinds))


def _measured(before: Mapping[CellKey, CellRow], after: Mapping[CellKey, CellRow]) -> list[Ratios]:
    shared = [
        key
        for key in sorted(before.keys() & after.keys())
        if before[key].outcome == after[key].outcome == Outcome.PASS
    ]
    columns = sorted({(key.backend, key.precision) for key in shared})
    found = []
    for quantity in QUANTITIES:
        for backend, precision in columns:
            keys = [key for key in shared if (key.backend, key.precision) == (backend, precision)]
            pairs = {
                key: (one, other)
                for key in keys
                if (one := _value(before[key], quantity)) > 0
                and (other := _value(after[key], quantity)) > 0
            }
            of_column = ratios(quantity, backend, precision, pairs)
            if of_column is not None:
                found.append(of_column)
    return found


#: Facts of a run without which times of two runs are not comparable.
_MACHINE = ("host", "device")


def _apart(environments: Mapping[str, tuple[RunChange, ...]]) -> set[str]:
    """The backends whose two runs were made on different machines."""
    return {
        backend
        for backend, found in environments.items()
        if any(change.name in _MACHINE for change in found)
    }


def _speeds(
    before: Mapping[CellKey, CellRow], after: Mapping[CellKey, CellRow], apart: set[str]
) -> list[SpeedChange]:
    shared = [
        key
        for key in sorted(before.keys() & after.keys())
        if before[key].outcome == after[key].outcome == Outcome.PASS
        and before[key].parameters == after[key].parameters  # a wide model is no tiny one
        and key.backend not in apart
    ]
    found = [
        change
        for key in shared
        for change in judged(key, before[key].measured, after[key].measured)
    ]
    return sorted(found, key=lambda change: -change.ratio)


def _value(row: CellRow, quantity: Quantity) -> float:
    value = getattr(row, quantity.column)
    return 0.0 if value is None else float(value)
