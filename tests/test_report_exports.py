"""Exports of the report, badges for shields.io, and the short form for a comment."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import duckdb
import pytest
from stored_results import MORNING, NOON, cell, run_info, session

from harness.catalog import model_lists
from harness.commands import report
from harness.contract import Metric, Outcome, Verdict
from harness.report import badges, content, exports, markdown

HOSTILE = 'off | by "0.3"\\\n# EOF <script>'


@pytest.fixture
def made(tmp_path: Path) -> content.Report:
    """Two runs of a backend, in the second of which `vit` broke with a hostile text."""
    path = tmp_path / "results" / "cpu.duckdb"
    timed = [Metric("inference", 0.25, "s")]
    good = cell("bert", metrics=timed, score=float("inf"))
    session(path, run_info("a", "cpu", MORNING), good, cell("vit"), cell("esm", Outcome.ABSENT))
    broken = cell("vit", Outcome.FAIL, verdict=Verdict.REGRESSED, reason=HOSTILE, cause=HOSTILE)
    expected = cell("swin", Outcome.CRASH)
    session(path, run_info("b", "cpu", NOON), good, broken, expected)
    (tmp_path / model_lists.FOLDER).mkdir()
    return report.read(path.parent, lambda: model_lists.load(tmp_path / "nowhere"))


def test_json_has_every_cell_by_its_names(made: content.Report) -> None:
    found = json.loads(exports.as_json(made))
    assert [one["entry"] for one in found["cells"]] == ["bert", "esm", "swin", "vit"]
    assert found["cells"][0]["score"] == "inf"
    assert found["columns"][0]["passed"] == 1
    assert found["columns"][0]["unexpected"] == 1
    assert len(found["causes"]) == 2


def test_parquet_has_a_row_a_cell(made: content.Report, tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    path.write_bytes(exports.as_parquet(made))
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT entry, outcome, inference, reason FROM read_parquet(?) ORDER BY 1", [str(path)]
        ).fetchall()
    assert rows[0] == ("bert", "pass", 0.25, "")
    assert rows[3] == ("vit", "fail", None, HOSTILE)


def test_ctrf_tells_expected_failures_from_others(made: content.Report) -> None:
    results = json.loads(exports.as_ctrf(made))["results"]
    found = {test["name"]: (test["status"], test["rawStatus"]) for test in results["tests"]}
    assert found == {
        "bert[cpu-default]": ("passed", "pass ok"),
        "esm[cpu-default]": ("skipped", "absent xfail"),
        "swin[cpu-default]": ("other", "crash xfail"),
        "vit[cpu-default]": ("failed", "fail regressed"),
    }
    summary = results["summary"]
    assert summary["tests"] == 4
    assert sum(summary[name] for name in ("passed", "failed", "skipped", "pending", "other")) == 4
    assert summary["start"] < summary["stop"]


def test_openmetrics_ends_once(made: content.Report) -> None:
    text = exports.as_openmetrics(made)
    assert text.endswith("\n# EOF\n")
    assert text.count("# EOF") == 1
    assert 'harness_cells{backend="cpu",precision="default",outcome="fail"} 1' in text
    assert 'harness_inference_seconds{backend="cpu",precision="default"} 0.25' in text
    sample = re.compile(r'[a-z_]+\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\} [0-9.e+]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in text.splitlines())


def test_a_label_of_openmetrics_cannot_end_its_line() -> None:
    assert exports._label(HOSTILE) == 'off | by \\"0.3\\"\\\\\\n# EOF <script>'


def test_shields_get_what_the_badge_says(made: content.Report) -> None:
    found = json.loads(badges.endpoints(made.totals, made.runs)["cpu"])
    assert found["schemaVersion"] == 1
    assert (found["label"], found["message"]) == ("cpu", "1/3 pass")


def test_a_comment_is_the_first_screen(made: content.Report) -> None:
    text = markdown.comment(made)
    assert "1 cell broke in the last run; 1 in all is not as expected." in text
    assert "- **1 broke**: `vit` on cpu" in text
    assert "<script" not in text
    assert len(text) < 3_000
    assert markdown.render(made).startswith(text.strip())


@pytest.mark.parametrize(("names", "files"), [("ctrf", 1), ("json,openmetrics", 2)])
def test_the_option_writes_what_it_names(tmp_path: Path, names: str, files: int) -> None:
    session(tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    given = parser.parse_args(["--results", str(tmp_path), "--export", names])
    assert report.main(given) == 0
    known = [tmp_path / file for file, _ in exports.EXPORTS.values()]
    assert sum(path.is_file() for path in known) == files


def test_an_export_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--export", "jsno"])
    assert "Did you mean" in capsys.readouterr().err
