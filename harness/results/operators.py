"""Unsupported and fallen-back operators, each with the entries that it blocks.

Two things are known of an operator: that a cell failed because so much of it ran elsewhere (its
placement, operator by operator, is stored with the cell), and that a converter or compiler named
it when it gave up. An entry that one operator alone blocks passes, as far as is known, once that
operator works; the table begins with those.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from harness.cell.judgement import FALLBACK, PLACEMENT
from harness.contract import OURS, Outcome, Stage
from harness.results.queries import Column, Connection

#: How converters name an operator that they lack; the first group is its name.
NAMED: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b((?:aten|prims|torchvision)(?:::|\.)\w+)",
        r"implementation for (\w+)\(\d+\) node",  # ONNX Runtime
        r"No conversion rule found for operations?: ([\w:]+)",  # OpenVINO
        r"Unsupported (?:op|operator|operation):? '?([\w:.]+)",
    )
)


@dataclass(frozen=True, slots=True)
class Operator:
    """The entries that one operator concerns, on one backend in one precision."""

    name: str
    alone: tuple[str, ...]  # entries that nothing else blocks
    shared: tuple[str, ...]  # entries that other operators block too
    spared: tuple[str, ...]  # entries that pass, or fail for another reason, with some of it away


def count(connection: Connection) -> dict[Column, list[Operator]]:
    """The operators by column, those that alone block most entries first.

    Args:
        connection: results as `harness.results.merged.gather` brings them together.
    """
    blocked: dict[Column, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    spared: dict[Column, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    fallen = _fallen(connection)
    rows = connection.execute(
        "SELECT run_id, entry, head, backend, precision, stage, outcome, reason FROM latest"
    ).fetchall()
    for run_id, entry, head, backend, precision, stage, outcome, reason in rows:
        column = Column(str(backend), str(precision))
        away = fallen.get((run_id, entry, head, precision), set())
        blockers: set[str] = set()
        if outcome not in (Outcome.PASS, Outcome.ABSENT) and stage not in OURS:
            if str(reason).startswith(PLACEMENT):
                blockers = away
            elif stage == Stage.PREPARE:  # later, an operator that is named has been converted
                blockers = named(str(reason))
        for operator in blockers:
            blocked[column][operator].add(str(entry))
        for operator in away - blockers:
            spared[column][operator].add(str(entry))
    return {
        column: _ranked(blocked[column], spared[column])
        for column in sorted(blocked.keys() | spared.keys())
    }


def named(reason: str) -> set[str]:
    """The operators that a failure's text names."""
    found = (match[1] for pattern in NAMED for match in pattern.finditer(reason))
    return {name.replace("aten.", "aten::") for name in found}


def _fallen(connection: Connection) -> dict[tuple[str, str, str, str], set[str]]:
    """The operators of each cell of which some instances ran elsewhere."""
    found: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for run_id, entry, head, precision, name in connection.execute(
        "SELECT run_id, entry, head, precision, name FROM metrics WHERE starts_with(name, ?)",
        [FALLBACK],
    ).fetchall():
        found[run_id, entry, head, precision].add(str(name).removeprefix(FALLBACK))
    return found


def _ranked(blocked: Mapping[str, set[str]], spared: Mapping[str, set[str]]) -> list[Operator]:
    entries = {entry for names in blocked.values() for entry in names}
    blockers = {entry: {op for op in blocked if entry in blocked[op]} for entry in entries}
    found = []
    for name in blocked.keys() | spared.keys():
        mine = sorted(blocked.get(name, ()))
        found.append(
            Operator(
                name,
                alone=tuple(entry for entry in mine if len(blockers[entry]) == 1),
                shared=tuple(entry for entry in mine if len(blockers[entry]) > 1),
                spared=tuple(sorted(spared.get(name, ()))),
            )
        )
    found.sort(key=lambda op: (-len(op.alone), -len(op.shared), -len(op.spared), op.name))
    return found
