"""`python -m harness sql`: views of the results, and no way out of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from stored_results import MORNING, NOON, cell, run_info, session

from harness.commands import sql
from harness.contract import HarnessError, Metric, Outcome
from harness.results import views


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cpu.duckdb"
    timed = [Metric("inference", 0.25, "s")]
    session(path, run_info("a", "cpu", MORNING), cell("bert", metrics=timed), cell("vit"))
    failed = cell("vit", Outcome.FAIL, cause="boom", reason="it went boom")
    session(path, run_info("b", "cpu", NOON), cell("bert", metrics=timed), failed)
    return tmp_path


def ask(folder: Path, query: str, *more: str) -> int:
    parser = argparse.ArgumentParser()
    sql.add_arguments(parser)
    return sql.main(parser.parse_args([query, "--results", str(folder), *more]))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT entry, outcome, inference FROM matrix ORDER BY entry",
         [["bert", "pass", 0.25], ["vit", "fail", None]]),
        ("SELECT run_id, passed, judged FROM trend", [["a", 2, 2], ["b", 1, 2]]),
        ("SELECT cause, blocked, entries FROM causes", [["boom", 1, ["vit"]]]),
        ("SELECT entry, outcome FROM changes ORDER BY number, entry",
         [["bert", "pass"], ["vit", "pass"], ["vit", "fail"]]),
        ("SELECT count(*) FROM latest", [[2]]),
    ],
)  # fmt: skip
def test_views_answer(
    folder: Path, capsys: pytest.CaptureFixture[str], query: str, answer: list[list[object]]
) -> None:
    assert ask(folder, query, "--json") == 0
    assert [list(row.values()) for row in json.loads(capsys.readouterr().out)] == answer


@pytest.mark.parametrize("name", [*views.VIEWS, *views.TABLES])
def test_whatever_help_names_can_be_asked(folder: Path, name: str) -> None:
    assert ask(folder, f"SELECT * FROM {name}", "--csv") == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("DROP TABLE latest", "found DROP"),
        ("SELECT 1; SELECT 2", "found SELECT, SELECT"),
        ("ATTACH 'x.duckdb'", "found ATTACH"),
        ("COPY latest TO 'x.csv'", "found COPY"),
        ("SET enable_external_access = true", "found SET"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("SELECT * FROM 'x.parquet'", "disabled by configuration"),
        ("SELECT * FROM folder", "does not exist"),
        ("SELEC 1", "syntax error"),
        ("", "found nothing"),
    ],
)
def test_nothing_else_is_reached(folder: Path, query: str, found: str) -> None:
    with pytest.raises(HarnessError, match=found):
        ask(folder, query)


def test_a_table_is_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "SELECT entry, inference FROM matrix ORDER BY 1 LIMIT 1") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["entry", "inference"],
        ["bert", "0.25"],
    ]
