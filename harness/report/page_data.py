"""Data of the HTML page: columns of numbers that index lists of texts, as compressed JSON.

A cell is one place in each array of `cells`; what is a text there is an index of `texts` or of a
list of names. Base64 of a gzip stream has no character that could end a script element, whatever a
results file says; the page's script writes every text as text, never as HTML.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.contract import FAMILIES, PRIORITIES, Outcome, Verdict
from harness.report import words
from harness.report.content import Report
from harness.results.changed_cells import CellKey
from harness.results.queries import CellRow, Column
from harness.toolkit import printable
from harness.toolkit.numerics import LIMIT

#: Version of the data's layout; the page's script expects this one.
LAYOUT = 1

#: Characters of a cell's reason, and of a traceback's end, that the page holds.
REASON, TAIL_LINES, TAIL = 300, 14, 1_600

#: Tracebacks that the page holds, of the causes that block most.
TAILS = 400

#: Level of gzip: 6 is twice as fast as 9, and its result hardly larger.
LEVEL = 6


class Texts:
    """Dictionary encoding: every different text once, by its index.

    Args:
        known: texts that come first, in this order.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.index: dict[str, int] = {}
        for text in known:
            self.add(text)

    def add(self, text: str) -> int:
        """The index of a text, which is added if it is new."""
        return self.index.setdefault(text, len(self.index))

    @property
    def list(self) -> Sequence[str]:
        """The texts by index."""
        return list(self.index)


def encoded(report: Report) -> str:
    """The data of a report as base64 of gzip of JSON."""
    text = json.dumps(data(report), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    packed = gzip.compress(text.encode("utf-8", "backslashreplace"), LEVEL, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def data(report: Report) -> dict[str, Any]:
    """The data of a report: lists, numbers and texts, without NaN and infinities."""
    return _Encoder(report).data()


class _Encoder:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.families = Texts(FAMILIES)
        self.heads = Texts(["base"])
        self.sizes = Texts(["tiny"])
        self.outcomes = Texts([str(outcome) for outcome in Outcome])
        self.verdicts = Texts(["", *(str(verdict) for verdict in Verdict)])
        self.stages = Texts()
        self.texts = Texts([""])
        self.entries = Texts()
        self.columns = {column: at for at, column in enumerate(report.columns)}
        self.runs = {run.run_id: number for number, run in report.history_runs.items()}
        self.causes = {
            name: at for at, one in enumerate(report.cause_texts) for name in one.fingerprints
        }
        self.known: list[Mapping[str, str]] = []
        self._known_at: dict[object, int] = {}

    def data(self) -> dict[str, Any]:
        report = self.report
        entries = self._entries()  # first: entries have the numbers of their rows
        cells = self._cells()
        history = self._history()
        causes = self._causes()
        return {
            "layout": LAYOUT,
            "generated": report.generated.isoformat(timespec="seconds"),
            "limit": LIMIT,
            "entries": entries,
            "columns": self._columns(),
            "cells": cells,
            "history": history,
            "runs": self._runs(),
            "totals": self._totals(),
            "causes": causes,
            "known": self.known,
            "operators": self._operators(),
            "weights": [
                [one.priority, one.entries, one.with_checkpoint, one.target, one.reached]
                for one in report.weights
            ],
            "families": self.families.list,
            "priorities": list(PRIORITIES),
            "heads": self.heads.list,
            "sizes": self.sizes.list,
            "outcomes": self.outcomes.list,
            "verdicts": self.verdicts.list,
            "stages": self.stages.list,
            "texts": self.texts.list,
            "meanings": {"outcomes": words.OUTCOMES, "verdicts": words.VERDICTS},
        }

    def _entries(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {
            name: []
            for name in ("name", "family", "priority", "architecture", "task", "checkpoint",
                         "notes", "aliases")
        }  # fmt: skip
        for family in self.report.families:
            for row in family.rows:
                if row.entry in self.entries.index:
                    continue
                self.entries.add(row.entry)
                listed = row.listed
                found["name"].append(row.entry)
                found["family"].append(self.families.add(family.name))
                priority = PRIORITIES.index(listed.priority) if listed else -1
                found["priority"].append(priority)
                found["architecture"].append(_line(row.architecture))
                found["task"].append(listed.task if listed else "")
                found["checkpoint"].append(listed.checkpoint if listed else "")
                found["notes"].append(_line(listed.notes) if listed else "")
                found["aliases"].append(", ".join(listed.aliases) if listed else "")
        return found

    def _columns(self) -> list[dict[str, Any]]:
        lines = {line.total.column: line for line in self.report.first.lines}
        found = []
        for column in self.report.columns:
            line = lines[column]
            since = {"before": None, "green": None} if line.news is None else {
                "before": line.news.before and line.news.before.number,
                "green": line.news.green and line.news.green.number,
            }  # fmt: skip
            newest = None if line.news is None else line.news.newest.number
            found.append(
                {
                    "backend": column.backend,
                    "precision": _line(column.precision),
                    "emulated": line.emulated,
                    "device": _line(line.device),
                    "newest": newest,
                    "notRun": line.total.not_run,
                    **since,
                }
            )
        return found

    def _cells(self) -> dict[str, Any]:
        names = ("entry", "head", "column", "size", "outcome", "stage", "verdict", "reason",
                 "cause", "known", "score", "floor", "load", "inference", "seconds", "memory",
                 "share", "run", "parameters")  # fmt: skip
        found: dict[str, Any] = {name: [] for name in names}
        measured: dict[int, Mapping[str, float | str | None]] = {}
        further: dict[int, list[int]] = {}
        culprits: dict[int, str] = {}
        for cell in self.report.every_size:
            if cell.column not in self.columns or cell.entry not in self.entries.index:
                continue
            at = len(found["entry"])
            values = (
                self.entries.index[cell.entry],
                self.heads.add(cell.head),
                self.columns[cell.column],
                self.sizes.add(cell.size),
                self.outcomes.add(cell.outcome),
                self.stages.add(cell.stage),
                self.verdicts.add(cell.verdict),
                self.texts.add(_line(cell.reason)),
                self._cause(cell),
                self._known(cell),
                _number(cell.score),
                _number(cell.noise_floor),
                _number(cell.load),
                _number(cell.inference),
                _number(cell.seconds),
                _number(cell.peak_rss_mb),
                _number(cell.device_share),
                self.runs.get(cell.run_id, -1),
                cell.parameters,
            )
            for name, value in zip(names, values, strict=True):
                found[name].append(value)
            if cell.measured:
                measured[at] = {name: _number(value) for name, value in cell.measured.items()}
            if cell.further:
                further[at] = [self.texts.add(_line(text)) for text in cell.further]
            if cell.culprit:
                culprits[at] = _line(cell.culprit)
        found |= {"measured": measured, "further": further, "culprits": culprits}
        return found

    def _cause(self, cell: CellRow) -> int:
        if cell.outcome in (Outcome.PASS, Outcome.ABSENT):
            return -1
        name = cell.cause or cell.reason or f"{cell.outcome} at {cell.stage}"
        return self.causes.get(name, -1)

    def _known(self, cell: CellRow) -> int:
        key = CellKey(cell.backend, cell.precision, cell.entry, cell.head), cell.cause
        failure = self.report.known.get(key) if cell.size == "tiny" else None
        if failure is None:
            return -1
        written = failure.reason, failure.owner, failure.issue
        if written not in self._known_at:
            self._known_at[written] = len(self.known)
            self.known.append(
                {"reason": _line(failure.reason), "owner": failure.owner,
                 "issue": _line(failure.issue)}
            )  # fmt: skip
        return self._known_at[written]

    def _history(self) -> dict[str, list[int]]:
        names = ("column", "entry", "head", "run", "outcome", "verdict", "cause")
        found: dict[str, list[int]] = {name: [] for name in names}
        for change in self.report.changes:
            column = self.columns.get(Column(change.backend, change.precision))
            if column is None or change.entry not in self.entries.index:
                continue
            values = (
                column,
                self.entries.index[change.entry],
                self.heads.add(change.head),
                change.number,
                self.outcomes.add(change.outcome),
                self.verdicts.add(change.verdict),
                self.causes.get(change.cause, -1),
            )
            for name, value in zip(names, values, strict=True):
                found[name].append(value)
        return found

    def _runs(self) -> dict[int, dict[str, Any]]:
        return {
            number: {
                "id": run.run_id,
                "backend": run.backend,
                "started": run.started_at.isoformat(timespec="seconds"),
                "finished": run.finished_at is not None,
                "device": _line(run.device),
                "commit": _line(run.git_commit)[:12],
                "pins": [_line(told) for told in self.report.pin_changes.get(number, ())],
                "versions": {_line(name): _line(text) for name, text in run.versions.items()},
            }
            for number, run in self.report.history_runs.items()
        }

    def _totals(self) -> dict[str, list[Any]]:
        shown = [one for one in self.report.run_totals if one.column in self.columns]
        return {
            "run": [one.number for one in shown],
            "column": [self.columns[one.column] for one in shown],
            "cells": [one.cells for one in shown],
            "judged": [one.judged for one in shown],
            "passed": [one.passed for one in shown],
            "unexpected": [one.unexpected for one in shown],
            "inference": [_number(one.median_inference) for one in shown],
        }

    def _causes(self) -> list[dict[str, Any]]:
        tails = 0
        found = []
        for text in self.report.cause_texts:
            places = []
            seen: set[str] = set()
            for place in text.places:
                tail = words.tail(place.error, TAIL_LINES, TAIL)
                if tail in seen or tails >= TAILS:
                    tail = ""
                seen.add(tail)
                tails += bool(tail)
                places.append(
                    {
                        "backend": place.backend,
                        "stage": place.stage,
                        "outcome": place.outcome,
                        "unexpected": place.unexpected,
                        "entries": [
                            self.entries.index[name]
                            for name in place.entries
                            if name in self.entries.index
                        ],
                        "example": place.example,
                        "tail": printable.block(tail),
                    }
                )
            found.append(
                {
                    "id": text.id,
                    "title": text.title,
                    "written": text.written,
                    "telling": text.telling,
                    "owner": text.owner,
                    "issue": text.issue,
                    "fingerprints": [_line(name) for name in text.fingerprints],
                    "entries": text.entries,
                    "places": places,
                }
            )
        return found

    def _operators(self) -> dict[int, list[list[Any]]]:
        return {
            self.columns[column]: [
                [_line(one.name), len(one.alone), len(one.shared), len(one.spared)] for one in found
            ]
            for column, found in self.report.operators.items()
            if column in self.columns and found
        }


def _line(text: str) -> str:
    return printable.line(text, REASON)


def _number(value: float | None) -> float | str | None:
    """A number in four significant digits; an infinite one, which JSON lacks, as `inf`."""
    if value is None:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else "inf"
