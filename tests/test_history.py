"""History of the results: changed states, totals of runs, news of columns, causes in words."""

from __future__ import annotations

from pathlib import Path

from stored_results import MORNING, NIGHT, NOON, cell, run_info, session

from harness.contract import Metric, Outcome, Stage, Verdict
from harness.report.cause_texts import texts
from harness.results import merged, run_history
from harness.results.causes import causes
from harness.results.changed_cells import CellKey, Kind
from harness.results.expectations import Failure
from harness.results.news import news
from harness.results.queries import Connection


def gathered(folder: Path) -> Connection:
    return merged.gather(merged.find(folder), None, history=True).connection


def test_only_changed_states_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "cpu.duckdb"
    for number, outcome in enumerate((Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.PASS)):
        started = f"2026-11-2{number}T00:00:00+00:00"
        session(path, run_info(f"r{number}", "cpu", started), cell("bert", outcome), cell("vit"))
    with gathered(tmp_path) as connection:
        found = run_history.changes(connection)
        totals = run_history.totals(connection)
    states = [(one.entry, one.number, one.outcome) for one in found]
    assert states == [("bert", 1, "pass"), ("bert", 3, "fail"), ("bert", 4, "pass"),
                      ("vit", 1, "pass")]  # fmt: skip
    assert [(one.passed, one.judged) for one in totals] == [(2, 2), (2, 2), (1, 2), (2, 2)]


def test_files_of_one_backend_make_one_history(tmp_path: Path) -> None:
    session(tmp_path / "1" / "cpu.duckdb", run_info("a", "cpu", MORNING), cell("bert"))
    failed = cell("bert", Outcome.FAIL, cause="c")
    session(tmp_path / "2" / "cpu.duckdb", run_info("b", "cpu", NOON), failed)
    session(tmp_path / "1" / "cpu.duckdb", run_info("c", "cpu", NIGHT), cell("bert"))
    with gathered(tmp_path) as connection:
        found = run_history.changes(connection)
    # The pass of the third run is none in its own file, and the last state of the cell all the same
    assert [(one.number, one.outcome) for one in found] == [(1, "pass"), (2, "fail"), (3, "pass")]


def test_results_that_count_nowhere_have_no_history(tmp_path: Path) -> None:
    path = tmp_path / "cpu.duckdb"
    session(path, run_info("a", "cpu", MORNING), cell("bert"))
    session(path, run_info("b", "cpu", NOON, faults="x"), cell("bert", Outcome.FAIL))
    session(path, run_info("c", "cpu", NIGHT), cell("bert", Outcome.FAIL, fallback="a CPU"))
    with gathered(tmp_path) as connection:
        assert [one.outcome for one in run_history.changes(connection)] == ["pass"]
        assert [one.run_id for one in run_history.totals(connection)] == ["a"]


def test_the_median_time_is_of_passing_cells(tmp_path: Path) -> None:
    timed = [
        cell("bert", metrics=[Metric("inference", 0.2, "s")]),
        cell("vit", metrics=[Metric("inference", 0.4, "s")]),
        cell("esm", Outcome.FAIL, metrics=[Metric("inference", 9.0, "s")]),
    ]
    session(tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), *timed)
    with gathered(tmp_path) as connection:
        (total,) = run_history.totals(connection)
    assert total.median_inference is not None
    assert abs(total.median_inference - 0.3) < 1e-9


def test_news_since_the_run_before_and_since_the_last_green_one(tmp_path: Path) -> None:
    path = tmp_path / "cpu.duckdb"
    broken = cell("bert", Outcome.FAIL, verdict=Verdict.REGRESSED, cause="c")
    session(path, run_info("green", "cpu", MORNING), cell("bert"), cell("vit"))
    session(path, run_info("red", "cpu", NOON), broken, cell("vit"))
    also = cell("vit", Outcome.FAIL, verdict=Verdict.REGRESSED, cause="d")
    session(path, run_info("redder", "cpu", NIGHT), also)  # a part of the cells
    with gathered(tmp_path) as connection:
        (found,) = news(connection)
    assert found.before is not None
    assert found.green is not None
    assert [c.key.entry for c in found.before.changes] == ["vit"]
    assert (found.green.run_id, found.green.broke, found.green.mended) == ("green", 2, 0)
    assert {c.kind for c in found.green.changes} == {Kind.REGRESSED}


def test_changed_pins_are_told_of_the_run_that_has_them(tmp_path: Path) -> None:
    path = tmp_path / "cpu.duckdb"
    session(path, run_info("a", "cpu", MORNING), cell("bert"))
    newer = {"torch": "2.14.0", "transformers": "5.23.0"}
    session(path, run_info("b", "cpu", NOON, versions=newer), cell("bert"))
    with gathered(tmp_path) as connection:
        told = run_history.pin_changes(run_history.runs(connection))
    assert told == {2: ["torch 2.13.0 → 2.14.0"]}


def test_causes_of_one_written_sentence_are_one(tmp_path: Path) -> None:
    failed = [
        cell(name, Outcome.FAIL, cause=cause, reason=f"{cause} happened")
        for name, cause in (("bert", "a"), ("vit", "b"), ("esm", "c"))
    ]
    session(tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), *failed)
    written = Failure(Stage.PREPARE, reason="The device lacks it.", issue="javascript:alert(1)")
    keys = [(CellKey("cpu", "default", entry, "base"), cause)
            for entry, cause in (("bert", "a"), ("vit", "b"))]  # fmt: skip
    with gathered(tmp_path) as connection:
        found = texts(causes(connection), dict.fromkeys(keys, written))
    assert [(text.title, text.written, text.entries) for text in found] == [
        ("The device lacks it.", True, 2),
        ("c happened", False, 1),
    ]
    assert found[0].issue == ""  # no address that a browser opens
    assert sorted(found[0].fingerprints) == ["a", "b"]
