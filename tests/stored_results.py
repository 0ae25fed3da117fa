"""Stored results of made-up sessions, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

from harness.contract import CellResult, Outcome, RunInfo, Stage, Verdict
from harness.results.store import Store

MORNING, NOON, NIGHT = (f"2026-11-20T{hour:02d}:00:00+00:00" for hour in (6, 12, 23))


def run_info(run_id: str, backend: str, started: str, **changes: object) -> RunInfo:
    given: dict[str, object] = {
        "run_id": run_id,
        "backend": backend,
        "started_at": started,
        "device": "a CPU",
        "emulated": False,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "lock_sha256": "ab" * 32,
        "git_commit": "cd" * 20,
        "host": "here",
        "arguments": ["-n", "2"],
        "seed": 0,
    }
    return RunInfo(**(given | changes))  # type: ignore[arg-type]


def cell(entry: str, outcome: Outcome = Outcome.PASS, **changes: object) -> CellResult:
    given: dict[str, object] = {
        "entry": entry,
        "family": "vision" if entry in {"vit", "swin"} else "encoder-only",
        "architecture": entry,
        "head": "base",
        "precision": "default",
        "stage": Stage.MEASURE if outcome is Outcome.PASS else Stage.PREPARE,
        "outcome": outcome,
        "verdict": Verdict.OK if outcome is Outcome.PASS else Verdict.XFAIL,
        "seconds": 1.5,
        "peak_rss_mb": 400.0,
        "parameters": 209_000,
    }
    return CellResult(**(given | changes))  # type: ignore[arg-type]


def session(path: Path, run: RunInfo, *cells: CellResult, finished: bool = True) -> Path:
    """One run in the results file of its session."""
    with Store.open(path) as opened:
        opened.begin(run)
        for result in cells:
            opened.add(run.run_id, result)
        if finished:
            opened.finish(run.run_id)
    return path
