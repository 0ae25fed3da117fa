"""Exports of a report for other programs: JSON, Parquet, CTRF and OpenMetrics.

JUnit is a session's own: `--junitxml=FILE` of pytest, with the cell's family, outcome and cause as
properties (`harness.session.junit`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from harness import contract
from harness.contract import GREEN, Outcome
from harness.report.content import Report
from harness.results.queries import CellRow
from harness.toolkit import printable, version

#: Columns of the cells that are texts; all others are numbers or true and false.
_TEXTS = ("entry", "head", "backend", "precision", "family", "architecture", "size", "stage",
          "outcome", "verdict", "reason", "cause", "run_id", "culprit")  # fmt: skip
_NUMBERS = ("parameters", "seconds", "peak_rss_mb", "device_share", "noise_floor", "score", "load",
            "inference")  # fmt: skip


def as_json(report: Report) -> str:
    """Totals, causes in words and every cell, each under its name; times are UTC."""
    cells = [_plain(cell) for cell in report.every_size]
    found = {
        "generated": report.generated.isoformat(timespec="seconds"),
        "columns": [
            {
                "backend": line.total.backend,
                "precision": line.total.precision,
                "passed": line.total.passed,
                "judged": line.total.judged,
                "unexpected": line.total.unexpected,
                "absent": line.total.absent,
                "not_run": line.total.not_run,
                "device": line.device,
                "emulated": line.emulated,
                "measured": line.measured.isoformat(timespec="seconds"),
            }
            for line in report.first.lines
        ],
        "causes": [
            {
                "id": text.id,
                "title": text.title,
                "entries": text.entries,
                "backends": text.backends,
                "owner": text.owner,
                "issue": text.issue,
                "fingerprints": text.fingerprints,
            }
            for text in report.cause_texts
        ],
        "cells": cells,
    }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def as_parquet(report: Report) -> bytes:
    """One row a cell, with the columns of `_TEXTS` and `_NUMBERS`."""
    columns = {
        name: [getattr(cell, name) for cell in report.every_size] for name in (*_TEXTS, *_NUMBERS)
    }
    types = dict.fromkeys(_TEXTS, "VARCHAR[]") | dict.fromkeys(_NUMBERS, "DOUBLE[]")
    selected = ", ".join(f"unnest(${name}::{types[name]}) AS {name}" for name in columns)
    with tempfile.TemporaryDirectory(prefix="harness-") as folder, duckdb.connect() as connection:
        path = Path(folder, "cells.parquet")
        connection.execute(f"CREATE TABLE cells AS SELECT {selected}", columns)
        connection.table("cells").write_parquet(str(path), compression="zstd")
        return path.read_bytes()


def as_ctrf(report: Report) -> str:
    """The Common Test Report Format, version 0.0: a test a cell of the last results.

    A pass is `passed`, an absent cell `skipped`, a failure that is expected `other`, any other
    `failed`; `rawStatus` has outcome and verdict.
    """
    cells = [cell for cell in report.every_size if cell.size == "tiny"]
    tests = [_test(cell) for cell in cells]
    counts = {name: sum(test["status"] == name for test in tests) for name in _STATUSES}
    moments = [run.started_at for run in report.runs]
    moments += [run.finished_at for run in report.runs if run.finished_at is not None]
    found = {
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "timestamp": report.generated.astimezone(UTC).isoformat(timespec="seconds"),
        "generatedBy": "python -m harness report",
        "results": {
            "tool": {"name": "hf-hardware-matrix", "version": version.version()},
            "summary": {
                "tests": len(tests),
                **counts,
                "start": _milliseconds(min(moments)),
                "stop": _milliseconds(max(moments)),
            },
            "tests": tests,
        },
    }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


_STATUSES = ("passed", "failed", "skipped", "pending", "other")


def _test(cell: CellRow) -> Mapping[str, Any]:
    status = "failed"
    if cell.outcome == Outcome.PASS:
        status = "passed"
    elif cell.outcome == Outcome.ABSENT:
        status = "skipped"
    elif cell.verdict in GREEN:
        status = "other"
    name = contract.label(cell.entry, cell.head)
    test: dict[str, Any] = {
        "name": f"{name}[{cell.backend}-{cell.precision}]",
        "status": status,
        "duration": round(1000 * (cell.seconds or 0.0)),
        "suite": [cell.backend, cell.family],
        "rawStatus": f"{cell.outcome} {cell.verdict}".strip(),
        "tags": [cell.precision, cell.stage],
        "flaky": cell.outcome == Outcome.FLAKY,
    }
    if cell.reason:
        test["message"] = printable.line(cell.reason)
    return test


def as_openmetrics(report: Report) -> str:
    """OpenMetrics as text: cells by outcome, unexpected ones, inference times, times of runs."""
    newest = {line.total.column: line for line in report.first.lines}
    lines: list[str] = []

    def family(
        name: str, unit: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]
    ) -> None:
        lines.append(f"# TYPE {name} gauge")
        if unit:
            lines.append(f"# UNIT {name} {unit}")
        lines.append(f"# HELP {name} {about}")
        for labels, value in samples:
            told = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{told}}} {value:.12g}")

    def of(backend: str, precision: str) -> dict[str, str]:
        return {"backend": backend, "precision": precision}

    family(
        "harness_cells", "", "Cells by outcome, of the last results.",
        (
            (of(total.backend, total.precision) | {"outcome": outcome}, count)
            for total in report.totals
            for outcome, count in sorted(total.outcomes.items())
        ),
    )  # fmt: skip
    family(
        "harness_unexpected_cells", "", "Cells whose verdict is neither ok nor xfail.",
        ((of(total.backend, total.precision), total.unexpected) for total in report.totals),
    )  # fmt: skip
    family(
        "harness_inference_seconds", "seconds", "Median inference of the newest run's passes.",
        (
            (of(column.backend, column.precision), line.news.newest.median_inference)
            for column, line in newest.items()
            if line.news is not None and line.news.newest.median_inference is not None
        ),
    )  # fmt: skip
    family(
        "harness_run_timestamp_seconds", "seconds", "When the newest run began, in Unix time.",
        (
            (of(column.backend, column.precision), line.measured.replace(tzinfo=UTC).timestamp())
            for column, line in newest.items()
        ),
    )  # fmt: skip
    return "\n".join([*lines, "# EOF"]) + "\n"


#: Names of exports, with their files and writers.
EXPORTS: Mapping[str, tuple[str, Callable[[Report], str | bytes]]] = {
    "json": ("report.json", as_json),
    "parquet": ("cells.parquet", as_parquet),
    "ctrf": ("ctrf.json", as_ctrf),
    "openmetrics": ("metrics.txt", as_openmetrics),
}


def _plain(cell: CellRow) -> dict[str, Any]:
    """A cell as JSON has it: without infinities, which become texts."""
    found = {field.name: getattr(cell, field.name) for field in fields(cell)}
    found |= {"further": list(cell.further), "measured": dict(cell.measured)}
    return {
        name: str(value) if value in (float("inf"), float("-inf")) else value
        for name, value in found.items()
    }


def _label(text: str) -> str:
    """A label's value, escaped as OpenMetrics asks."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _milliseconds(moment: datetime) -> int:
    return round(1000 * moment.replace(tzinfo=UTC).timestamp())
