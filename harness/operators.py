"""Which operator unlocks what: unsupported and fallen-back operators, and the entries they block.

Two things are known of an operator: that a cell failed because so much of it ran elsewhere (its
placement, operator by operator, is stored with the cell), and that a converter or compiler named
it when it gave up. An entry that one operator alone blocks passes, as far as is known, once that
operator works; the table begins with those.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import catalog as catalogs
from harness.cell import FALLBACK, PLACEMENT
from harness.contract import OURS, Outcome, Stage
from harness.report import results
from harness.report.queries import Column, Connection

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
    """One operator on one backend in one precision, and the entries that it concerns."""

    name: str
    alone: tuple[str, ...]  # entries that nothing else blocks
    shared: tuple[str, ...]  # entries that other operators block too
    spared: tuple[str, ...]  # entries that pass, or fail for another reason, with some of it away


def count(connection: Connection) -> dict[Column, list[Operator]]:
    """The operators by column, those that alone block most entries first.

    Args:
        connection: results as `harness.report.results.gather` brings them together.
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


def markdown(columns: Mapping[Column, list[Operator]]) -> str:
    """The operators as Markdown, ending in a newline."""
    blocks = ["# Which operator unlocks what"]
    for column, operators in columns.items():
        blocks += [f"## {column.backend}, {column.precision}", _table(operators)]
    if not columns:
        blocks.append("No result names an operator that is unsupported or ran elsewhere.")
    return "\n\n".join(blocks) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness operators`."""
    parser.description = "Lists unsupported and fallen-back operators by the entries they block."
    parser.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    parser.add_argument("--root", type=Path, default=catalogs.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the operators; results files that cannot be read are named on stderr."""
    entries = list(catalogs.load(args.root).entries.values())
    gathered = results.gather(results.find(args.results or args.root / "results"), entries)
    columns = count(gathered.connection)
    if args.json:
        rows = [
            {**asdict(column), **asdict(operator)}
            for column, operators in columns.items()
            for operator in operators
        ]
        print(json.dumps(rows, indent=2))
    else:
        print(markdown(columns), end="")
    for left_out in gathered.left_out:
        print(f"left out: {left_out}", file=sys.stderr)
    return 0


def _fallen(connection: Connection) -> dict[tuple[str, str, str, str], set[str]]:
    """Cell -> the operators of which some ran elsewhere."""
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


def _table(operators: Iterable[Operator]) -> str:
    lines = [
        "| operator | alone blocks | blocks with others | runs elsewhere without harm |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{op.name}` | {_names(op.alone)} | {_names(op.shared)} | {len(op.spared)} |"
        for op in operators
    ]
    return "\n".join(lines)


def _names(entries: tuple[str, ...]) -> str:
    return f"{len(entries)}: {', '.join(entries)}" if entries else "0"
