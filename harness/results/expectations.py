"""What each backend is known to get wrong: read, held against results, rewritten.

`backends/<folder>/expectations.toml` holds deviations only; what it does not name is expected to
pass. One `[[expect]]` names one cause, and every entry that the cause blocks:

    [[expect]]
    entries = ["qwen3_next", "qwen3_5_text"]    # or entry = "qwen3_next"
    stage = "prepare"
    outcome = "fail"                            # optional; any but pass
    match = "linalg_solve_triangular"           # optional; a piece of the cause, reason or error
    precision = "f16"                           # optional; every precision otherwise
    head = "fill-mask"                          # optional; every head otherwise
    owner = "upstream"                          # ours | upstream | never
    reason = "OpenVINO's front end has no translation for this op."
    issue = ""                                  # optional; a link

`match` is a plain piece of text, no pattern: error messages are full of brackets and dots.
A narrower row (one that names a precision, a head or both) goes before a wider one. A cell that
fails now here, now there has a row for each stage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract import CellResult, Outcome, Verdict
from harness.results.expectation import Expectation, Failure, Scope
from harness.toolkit import toml_text

HEADER = """\
# What this backend is known to get wrong, and why; everything else is expected to pass.
# `harness/results/expectations.py` documents the keys. Rewrite after a run with
# `nox -s {session} -- --update-expectations`, then give each new row its owner and reason.
"""
#: `unmet_requirements` starts with this where an entry itself says what it needs.
DECLARED_ABSENT = "requires "


@dataclass(frozen=True, slots=True)
class Expectations:
    """The expectations of one backend.

    Attributes:
        rows: one an entry, in the order of the file.
        header: the comment at the top of the file.
        warnings: what is bearable during a run and fails the tests (rows without a reason).
        promised: the entries that the backend's pins are meant to have; None: all of them.
    """

    rows: tuple[Expectation, ...] = ()
    header: str = ""
    warnings: tuple[str, ...] = ()
    promised: Collection[str] | None = None

    def judge(self, result: CellResult, history: Outcome | None) -> Verdict:
        """The verdict on a result.

        Args:
            result: what the cell did.
            history: the last stored outcome of the same cell, None when it never ran.
        """
        if self._declared_absent(result):
            return Verdict.XFAIL
        rows = self._about(result)
        if result.outcome is Outcome.PASS:
            return Verdict.IMPROVED if rows else Verdict.OK
        if any(row.failure.fits(result) for row in rows):
            return Verdict.XFAIL
        if rows:
            return Verdict.CHANGED
        return Verdict.REGRESSED if history is Outcome.PASS else Verdict.NEW

    def rewrite(self, results: Iterable[CellResult]) -> str:
        """The text of the file that expects these results.

        Rows of entries that did not run stay. Of an entry that ran, the rows that still fit stay
        with their owner, reason and issue; a failure that no row fits gets one with a blank
        reason, for a person to fill in.
        """
        ran: dict[str, dict[tuple[str, str], CellResult]] = {}
        for result in sorted(results, key=lambda result: (result.head, result.precision)):
            ran.setdefault(result.entry, {})[result.head, result.precision] = result
        rows: list[Expectation] = []
        for entry in sorted({*ran, *(row.entry for row in self.rows)}):
            own = [row for row in self.rows if row.entry == entry]
            rows += self._rewritten(own, ran[entry]) if entry in ran else own
        header = self.header or HEADER.format(session="SESSION")
        return header + "".join("\n" + table for table in self._tables(rows))

    def _tables(self, rows: Iterable[Expectation]) -> list[str]:
        """One `[[expect]]` a cause and scope with all its entries: the old ones first, as read."""
        shared: dict[tuple[Scope, Failure], list[str]] = {
            (row.scope, row.failure): [] for row in self.rows
        }
        for row in rows:
            shared.setdefault((row.scope, row.failure), []).append(row.entry)
        return [
            _table(entries, scope, failure)
            for (scope, failure), entries in shared.items()
            if entries
        ]

    def _declared_absent(self, result: CellResult) -> bool:
        """Whether the entry's own row, or the backend's promise, says that it is not there."""
        unmet = result.reason.startswith(DECLARED_ABSENT)
        beyond = self.promised is not None and result.entry not in self.promised
        return result.outcome is Outcome.ABSENT and (unmet or beyond)

    def _about(self, result: CellResult) -> list[Expectation]:
        """The narrowest rows whose scope the cell lies in."""
        rows = [
            row
            for row in self.rows
            if row.entry == result.entry and row.scope.holds(result.head, result.precision)
        ]
        narrowest = max((row.scope.narrowness for row in rows), default=0)
        return [row for row in rows if row.scope.narrowness == narrowest]

    def _rewritten(
        self, own: Sequence[Expectation], cells: Mapping[tuple[str, str], CellResult]
    ) -> list[Expectation]:
        """The rows of one entry that ran, for what its cells did."""
        untouched = [row for row in own if not any(row.scope.holds(*cell) for cell in cells)]
        failures: dict[Failure, set[tuple[str, str]]] = {}
        kept: dict[Failure, set[Scope]] = {}
        for cell, result in cells.items():
            if result.outcome is Outcome.PASS or self._declared_absent(result):
                continue
            fitting = [row for row in self._about(result) if row.failure.fits(result)]
            failure = fitting[0].failure if fitting else _new_failure(result)
            failures.setdefault(failure, set()).add(cell)
            scopes = {row.scope for row in fitting if row.failure == failure}
            kept.setdefault(failure, set()).update(scopes)
        rows = []
        for failure, cells_of_it in failures.items():
            old = kept[failure]
            covered = {
                cell
                for cell, result in cells.items()
                if any(row.failure == failure and row.scope in old for row in self._about(result))
            }
            scopes = old if covered == cells_of_it else _scopes(cells_of_it, set(cells))
            ordered = sorted(scopes, key=lambda scope: (scope.head, scope.precision))
            rows += [
                Expectation(next(iter(cells.values())).entry, scope, failure) for scope in ordered
            ]
        still = {row.scope for row in rows if row in own}
        # A cell that fails now here, now there was seen at one of its stages.
        others = [row for row in own if row.scope in still and row not in rows]
        return [*untouched, *rows, *others]


def _new_failure(result: CellResult) -> Failure:
    return Failure(result.stage, result.outcome, result.cause or result.reason)


def _scopes(cells: set[tuple[str, str]], ran: set[tuple[str, str]]) -> set[Scope]:
    """The widest scopes that hold these cells and no other cell that ran."""
    if cells == ran:
        return {Scope()}
    lines = {Scope(head=head) for head, _ in cells} | {Scope(precision=part) for _, part in cells}
    held = {
        scope: {cell for cell in ran if scope.holds(*cell)}
        for scope in sorted(lines, key=lambda scope: (scope.head, scope.precision))
    }
    scopes: set[Scope] = set()
    left = set(cells)
    for scope in sorted(held, key=lambda scope: -len(held[scope])):
        if held[scope] <= cells and held[scope] & left:
            scopes.add(scope)
            left -= held[scope]
    return scopes | {Scope(*cell) for cell in left}


def _table(entries: Sequence[str], scope: Scope, failure: Failure) -> str:
    items: dict[str, Any] = {}
    if len(entries) == 1:
        items["entry"] = entries[0]
    else:
        items["entries"] = entries
    if scope.head:
        items["head"] = scope.head
    if scope.precision:
        items["precision"] = scope.precision
    items["stage"] = failure.stage.value
    if failure.outcome is not None:
        items["outcome"] = failure.outcome.value
    if failure.match:
        items["match"] = failure.match
    items["owner"] = failure.owner
    items["reason"] = failure.reason
    if failure.issue:
        items["issue"] = failure.issue
    return toml_text.table("[expect]", items)
