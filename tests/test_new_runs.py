"""Whether a session has stored a run: what CI asks before it believes what lies in results/."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_results import MORNING, NOON, cell, run_info, session

from harness.__main__ import main
from harness.contract import CellResult, Outcome
from harness.results.new_runs import new_runs


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Results before a session and after it, with one run in both."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
    return before, after


@pytest.mark.parametrize(
    ("cells", "finished", "status", "said"),
    [
        ([cell("bert")], True, 0, "cpu: run b finished, 1 result.\n"),
        ([cell("bert")], False, 4, "cpu: run b was cut short, 1 result.\n"),
        ([cell("bert", Outcome.ABSENT)], True, 3, "Nothing was run."),
        ([], True, 3, "Nothing was run."),
    ],
)
def test_a_new_run_counts_where_it_has_results_and_an_end(
    folders: tuple[Path, Path],
    cells: list[CellResult],
    finished: bool,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = folders
    # By ids: the clock of the other runner may have been ahead.
    session(after / "cpu.duckdb", run_info("b", "cpu", MORNING), *cells, finished=finished)
    assert main(["ran", str(before), str(after)]) == status
    assert said in capsys.readouterr().out


def test_older_runs_are_none(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_runs(*folders) == []
    assert main(["ran", *map(str, folders)]) == 3
    assert capsys.readouterr().out.startswith("Nothing was run.")


def test_without_a_history_every_run_is_new(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (run,) = new_runs(tmp_path / "none", folders[1])
    assert (run.run_id, run.counts, run.cells) == ("a", True, 1)
    assert new_runs(tmp_path / "none", tmp_path / "none either") == []
