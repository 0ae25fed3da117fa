"""Rewriter of `expectations.toml`, for `--update-expectations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace

from harness.contract import CellFailure, CellResult, Outcome, Stage
from harness.results.expectations import Expectation, Expectations, Failure, Scope
from harness.results.expectations_file import HEADER, as_keys
from harness.toolkit import toml_text


def updated(expectations: Expectations, results: Iterable[CellResult]) -> str:
    """The text of the file that expects these results.

    Rows of entries that did not run stay. Of an entry that ran, the rows that still fit stay
    with their owner, reason and issue; a failure that no row fits gets one with a blank reason,
    for a person to fill in. A fault of a library that is known has no row of the backend.
    """
    ran: dict[str, dict[tuple[str, str], CellResult]] = {}
    for result in sorted(results, key=lambda result: (result.head, result.precision)):
        ran.setdefault(result.entry, {})[result.head, result.precision] = result
    rows: list[Expectation] = []
    for entry in sorted({*ran, *(row.entry for row in expectations.rows)}):
        if entry in ran:
            rows += _rows_of_entry(expectations, entry, ran[entry])
        else:
            rows += [row for row in expectations.rows if row.entry == entry]
    header = expectations.header or HEADER.format(session="SESSION")
    return header + "".join("\n" + table for table in _tables(expectations.rows, rows))


def _tables(old: Iterable[Expectation], rows: Iterable[Expectation]) -> list[str]:
    """One `[[expect]]` a cause and scope with all its entries: the old ones first, as read."""
    shared: dict[tuple[Scope, Failure], list[str]] = {(row.scope, row.failure): [] for row in old}
    for row in rows:
        shared.setdefault((row.scope, row.failure), []).append(row.entry)
    groups: dict[tuple[Scope, Failure, tuple[str, ...]], list[Stage]] = {}
    for (scope, failure), entries in shared.items():
        if entries:
            anywhere = replace(failure, stage=Stage.RUN)
            groups.setdefault((scope, anywhere, tuple(entries)), []).append(failure.stage)
    return [
        _table(entries, scope, failure, found)
        for (scope, failure, entries), found in groups.items()
    ]


def _rows_of_entry(
    expectations: Expectations, entry: str, cells: Mapping[tuple[str, str], CellResult]
) -> list[Expectation]:
    """The rows that expect what the cells of one entry did, by (head, precision)."""
    own = [row for row in expectations.rows if row.entry == entry]
    untouched = [
        row
        for row in own
        if not any(expectations.counts(row, c[1]) and row.scope.holds(*c) for c in cells)
    ]
    failures: dict[Failure, set[tuple[str, str]]] = {}
    kept: dict[Failure, set[Scope]] = {}
    for cell, result in cells.items():
        if expectations.declared_absent(result):
            continue
        if result.outcome is Outcome.PASS:
            for row in expectations.about(result):
                if row.failure.flaky:  # a pass is one of the two answers that are expected
                    failures.setdefault(row.failure, set()).add(cell)
                    kept.setdefault(row.failure, set()).add(row.scope)
            continue
        library = expectations.of_library(result)
        for found in result.failures:
            if any(row.failure.fits(found) for row in library):
                continue
            fitting = [row for row in expectations.about(result) if row.failure.fits(found)]
            failure = fitting[0].failure if fitting else _new_failure(found)
            failures.setdefault(failure, set()).add(cell)
            scopes = {row.scope for row in fitting if row.failure == failure}
            kept.setdefault(failure, set()).update(scopes)
    rows = []
    for failure, failed in failures.items():
        old = kept[failure]
        covered = {
            cell
            for cell, result in cells.items()
            for row in expectations.about(result)
            if row.failure == failure and row.scope in old
        }
        scopes = old if covered == failed else _scopes(failed, set(cells))
        ordered = sorted(scopes, key=astuple)
        rows += [Expectation(entry, scope, failure) for scope in ordered]
    still = {row.scope for row in rows if row in own}
    # A cell that fails now here, now there was seen at one of its stages.
    others = [row for row in own if row.scope in still and row not in rows]
    return [*untouched, *rows, *others]


def _new_failure(found: CellFailure) -> Failure:
    return Failure(found.stage, found.outcome, found.cause or found.reason)


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


def _table(entries: Sequence[str], scope: Scope, failure: Failure, stages: Sequence[Stage]) -> str:
    """One `[[expect]]`; keys without a value are left out, but for the reason that is asked for."""
    keys: dict[str, object] = {"entry": entries[0]} if len(entries) == 1 else {"entries": entries}
    for key, text in as_keys(scope, replace(failure, stage=stages[0])).items():
        if key == "stage" and len(stages) > 1:
            keys["stages"] = [stage.value for stage in stages]
        elif text or key == "reason":
            keys[key] = text
    return toml_text.table("[expect]", keys)
