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

import argparse
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import catalog as catalogs
from harness import registry, toml_text
from harness.catalog import Catalog, did_you_mean
from harness.contract import CellResult, HarnessError, Outcome, Stage, Verdict

OWNERS = ("ours", "upstream", "never")
HEADER = """\
# What this backend is known to get wrong, and why; everything else is expected to pass.
# `harness/expectations.py` documents the keys. Rewrite after a run with
# `nox -s {session} -- --update-expectations`, then give each new row its owner and reason.
"""
#: `unmet_requirements` starts with this where an entry itself says what it needs.
DECLARED_ABSENT = "requires "

_KEYS = (
    "entries",
    "entry",
    "precision",
    "head",
    "stage",
    "outcome",
    "match",
    "owner",
    "reason",
    "issue",
)
_REQUIRED = ("stage", "owner", "reason")
_STAGES = tuple(stage.value for stage in Stage)
_FAILURES = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.PASS)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a cell fails and whose fault it is; the same for every entry that the cause blocks."""

    stage: Stage
    outcome: Outcome | None = None  # None: any
    match: str = ""  # empty: any
    owner: str = "ours"
    reason: str = ""
    issue: str = ""

    def fits(self, result: CellResult) -> bool:
        """Whether the result fails at this stage, with this outcome, for this cause."""
        if result.stage is not self.stage:
            return False
        if self.outcome is not None and result.outcome is not self.outcome:
            return False
        return any(self.match in text for text in (result.cause, result.reason, result.error))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which cells of an entry are meant; an empty head or precision means every one."""

    head: str = ""
    precision: str = ""

    @property
    def narrowness(self) -> int:
        """How many of its keys are given: the narrowest scope wins."""
        return bool(self.head) + bool(self.precision)

    def holds(self, head: str, precision: str) -> bool:
        """Whether the cell lies in this scope."""
        return self.head in ("", head) and self.precision in ("", precision)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of one `[[expect]]`."""

    entry: str
    scope: Scope
    failure: Failure


@dataclass(frozen=True, slots=True)
class Expectations:
    """The expectations of one backend.

    Attributes:
        rows: one an entry, in the order of the file.
        header: the comment at the top of the file.
        warnings: what is bearable during a run and fails the tests (rows without a reason).
        promised: the entries that the backend's pins are meant to have; None: all of them.
    """

    rows: tuple[Row, ...] = ()
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
        rows: list[Row] = []
        for entry in sorted({*ran, *(row.entry for row in self.rows)}):
            own = [row for row in self.rows if row.entry == entry]
            rows += self._rewritten(own, ran[entry]) if entry in ran else own
        header = self.header or HEADER.format(session="SESSION")
        return header + "".join("\n" + table for table in self._tables(rows))

    def _tables(self, rows: Iterable[Row]) -> list[str]:
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

    def _about(self, result: CellResult) -> list[Row]:
        """The narrowest rows whose scope the cell lies in."""
        rows = [
            row
            for row in self.rows
            if row.entry == result.entry and row.scope.holds(result.head, result.precision)
        ]
        narrowest = max((row.scope.narrowness for row in rows), default=0)
        return [row for row in rows if row.scope.narrowness == narrowest]

    def _rewritten(
        self, own: Sequence[Row], cells: Mapping[tuple[str, str], CellResult]
    ) -> list[Row]:
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
            rows += [Row(next(iter(cells.values())).entry, scope, failure) for scope in ordered]
        still = {row.scope for row in rows if row in own}
        # A cell that fails now here, now there was seen at one of its stages.
        others = [row for row in own if row.scope in still and row not in rows]
        return [*untouched, *rows, *others]


def load(
    path: Path,
    catalog: Catalog,
    *,
    precisions: Collection[str] = (),
) -> Expectations:
    """Reads and checks one file; a file that is not there expects nothing.

    Args:
        path: the backend's `expectations.toml`.
        catalog: the model lists that its entries must be in.
        precisions: those that the backend has, where the caller knows them; a row that names
            another would never match.

    Raises:
        HarnessError: the file is wrong; the message has the line and the fix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Expectations(header=HEADER.format(session=path.parent.name.replace("_", "-")))
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(
            f"{path}: expected a readable UTF-8 file, found: {error}. "
            f"Fix: restore it with `git checkout -- {path}`"
        ) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise HarnessError(
            f"{path}{':' + line.group(1) if line else ''}: expected TOML, found: {error}. "
            "Fix: correct that line"
        ) from None
    return _Reader(path, text, catalog, precisions).read(data)


class _Reader:
    """Checks one file, row by row."""

    def __init__(
        self,
        path: Path,
        text: str,
        catalog: Catalog,
        precisions: Collection[str],
    ) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.catalog = catalog
        self.precisions = precisions
        self.starts = [
            number
            for number, line in enumerate(self.lines, start=1)
            if re.match(r"\s*\[\[\s*expect\s*\]\]", line)
        ]

    def read(self, data: Mapping[str, Any]) -> Expectations:
        for key in data:
            if key != "expect":
                raise HarnessError(
                    f"{self.path}: expected [[expect]] tables only, found `{key}`."
                    f"{did_you_mean(key, ['expect'])} Fix: rename or drop it"
                )
        tables = data.get("expect", [])
        if not isinstance(tables, list):
            raise HarnessError(
                f"{self.path}: expected `[[expect]]` with two brackets, found `[expect]`. "
                "Fix: double them"
            )
        rows: list[Row] = []
        warnings = []
        first: dict[tuple[str, Scope, Stage], int] = {}
        for index, table in enumerate(tables):
            for row in self._rows(index, table):
                double = first.setdefault((row.entry, row.scope, row.failure.stage), index)
                if double != index or row in rows:
                    raise self._error(
                        index,
                        "entry",
                        "one row a cell and stage",
                        f"a second one for {row.entry!r} (the first is at line "
                        f"{self._line(double)})",
                        "drop one, or tell them apart by `precision`, `head` or `stage`",
                    )
                rows.append(row)
            if not table["reason"].strip():
                warnings.append(
                    f"{self.path}:{self._line(index, 'reason')}: the reason is blank. Fix: say "
                    "why it fails, and whose it is (`owner`)"
                )
        return Expectations(tuple(rows), _leading_comment(self.lines), tuple(warnings))

    def _rows(self, index: int, table: Any) -> list[Row]:
        for key, found in table.items():
            if key not in _KEYS:
                raise self._error(
                    index,
                    key,
                    f"one of {', '.join(_KEYS)}",
                    f"the key `{key}`.{did_you_mean(key, _KEYS)}",
                    "rename or drop it",
                )
            if key != "entries" and not isinstance(found, str):
                raise self._error(index, key, "a string", repr(found), "put it in quotes")
        for key in _REQUIRED:
            if key not in table:
                raise self._error(index, "", f"`{key}`", "none", f"add it: {_EXAMPLES[key]}")
        self._one_of(index, table, "stage", _STAGES)
        self._one_of(index, table, "outcome", _FAILURES)
        self._one_of(index, table, "owner", OWNERS)
        if self.precisions:
            self._one_of(index, table, "precision", tuple(self.precisions))
        scope = Scope(table.get("head", ""), table.get("precision", ""))
        outcome = Outcome(table["outcome"]) if "outcome" in table else None
        failure = Failure(
            Stage(table["stage"]),
            outcome,
            table.get("match", ""),
            table["owner"],
            table["reason"],
            table.get("issue", ""),
        )
        return [Row(name, scope, failure) for name in self._entries(index, table)]

    def _entries(self, index: int, table: Mapping[str, Any]) -> list[str]:
        found = table.get("entries", [table["entry"]] if "entry" in table else None)
        if ("entry" in table and "entries" in table) or not found or not isinstance(found, list):
            raise self._error(
                index,
                "entries",
                "`entry` or `entries`, one of the two",
                "both" if "entry" in table and "entries" in table else repr(found),
                'write entry = "bert", or entries = ["bert", "gpt2"]',
            )
        key = "entries" if "entries" in table else "entry"
        for name in found:
            if name in self.catalog.entries:
                continue
            if name in self.catalog.unavailable:
                raise self._error(
                    index,
                    key,
                    "entries of the model lists",
                    f"{name!r}, which is in {catalogs.UNAVAILABLE}",
                    "drop it: the row is stale",
                )
            raise self._error(
                index,
                key,
                "entries of the model lists",
                f"{name!r}.{did_you_mean(str(name), self.catalog.entries)}",
                "correct it, or drop it when the entry is gone",
            )
        return found

    def _one_of(
        self, index: int, table: Mapping[str, Any], key: str, choices: Sequence[str]
    ) -> None:
        if key in table and table[key] not in choices:
            raise self._error(
                index,
                key,
                f"one of {', '.join(choices)}",
                f"{table[key]!r}.{did_you_mean(table[key], choices)}",
                "choose one of them",
            )

    def _error(self, index: int, key: str, expected: str, found: object, fix: str) -> HarnessError:
        where = f"{self.path}:{self._line(index, key)}: [[expect]]"
        stop = "" if str(found).endswith("?") else "."  # a hint asks what else was meant
        return HarnessError(f"{where} expected {expected}, found {found}{stop} Fix: {fix}")

    def _line(self, index: int, key: str = "") -> int:
        """The line of `key` in the row, else the one where the row starts."""
        if index >= len(self.starts):  # written as an inline array
            return 1
        start = self.starts[index]
        end = self.starts[index + 1] - 1 if index + 1 < len(self.starts) else len(self.lines)
        for number in range(start, end):
            if re.match(rf"\s*{re.escape(key)}\s*=", self.lines[number]) and key:
                return number + 1
        return start


_EXAMPLES = {
    "stage": 'stage = "prepare"',
    "owner": 'owner = "upstream" (ours, upstream or never)',
    "reason": 'reason = "Why it fails."',
}


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


def _leading_comment(lines: Iterable[str]) -> str:
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line + "\n")
    return "".join(comment)


# ---- python -m harness expectations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness expectations`."""
    parser.description = "Checks and shows what each backend is known to get wrong."
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help="all of them by default")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a row")
    parser.add_argument("--root", type=Path, default=catalogs.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the rows by backend; 1 where a reason is blank.

    Raises:
        HarnessError: a file is wrong, or a backend is unknown.
    """
    catalog = catalogs.load(args.root)
    folder = args.root / "backends"
    specs = (
        [registry.find(name, folder) for name in args.backends]
        if args.backends
        else registry.discover(folder).values()
    )
    loaded = {spec.name: load(spec.expectations, catalog) for spec in specs}
    if args.json:
        records = [_record(name, row) for name, found in loaded.items() for row in found.rows]
        print(json.dumps(records, indent=2))
    else:
        for name, found in loaded.items():
            _show(name, found)
    warnings = [warning for found in loaded.values() for warning in found.warnings]
    for warning in warnings:
        print(warning, file=sys.stderr)
    return 1 if warnings else 0


def _show(backend: str, expectations: Expectations) -> None:
    rows = expectations.rows
    owners = Counter(row.failure.owner for row in rows)
    counts = ", ".join(f"{owners[owner]} {owner}" for owner in OWNERS if owners[owner])
    entries = len({row.entry for row in rows})
    noun = "entry is" if entries == 1 else "entries are"
    print(f"{backend}: {entries} {noun} expected to fail{f' ({counts})' if counts else ''}")
    causes: dict[Failure, list[str]] = {}
    for row in rows:
        causes.setdefault(row.failure, []).append(row.entry)
    for failure, names in sorted(causes.items(), key=lambda item: -len(item[1])):
        outcome = f" {failure.outcome.value}" if failure.outcome else ""
        what = f"{failure.stage.value}{outcome}: {failure.reason or '(no reason)'}"
        print(f"  {len(set(names)):4} {failure.owner:8} {what}")
        print(f"       {', '.join(sorted(set(names)))}")


def _record(backend: str, row: Row) -> dict[str, str]:
    failure = row.failure
    return {
        "backend": backend,
        "entry": row.entry,
        "head": row.scope.head,
        "precision": row.scope.precision,
        "stage": failure.stage.value,
        "outcome": failure.outcome.value if failure.outcome else "",
        "match": failure.match,
        "owner": failure.owner,
        "reason": failure.reason,
        "issue": failure.issue,
    }
