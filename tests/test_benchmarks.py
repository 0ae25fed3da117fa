"""The benchmarks: each has a quick run, and reads what the harness prints."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored_results import NOON, cell, run_info, session

from benchmarks import prediction, scores, sweep, toml_mutations, two_versions
from harness.contract import CellResult, Outcome
from harness.environments import swapped
from harness.session import summary
from harness.session.cost import Cost

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted(
    path
    for path in (ROOT / "benchmarks").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def test_the_cost_of_a_sweep_counts_every_cell_of_the_harnesss_summary(
    make_result: Callable[..., CellResult],
) -> None:
    results = [make_result(name) for name in ("a", "b", "c")]
    results.append(make_result("d", outcome=Outcome.ABSENT))
    cost = f"cost: {summary.cost(results, Cost(wall=30.0, cpu=6.0))}"
    for totals in ("3 ok; 4 cells", "3 ok; 4 cells, 1 of them absent from this environment"):
        assert sweep.cpu_of(f"20 cells before\n{totals}\n\n{cost}\nresults: a") == 6.0


@pytest.mark.parametrize(
    "output",
    ["", "3 ok; 4 cells", "cost: 2.0 s wall, 1.50 s of CPU a cell", "1.50 s of CPU a cell"],
)
def test_output_without_a_summary_has_no_cost(output: str) -> None:
    assert sweep.cpu_of(output) is None


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_has_a_quick_run_that_continuous_integration_runs(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert f"python -m benchmarks.{path.stem} --quick" in docstring
    assert f"benchmarks.{path.stem} --quick" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_spoilt_toml_file_ends_in_no_traceback(
    seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toml_mutations.main(["--quick", "--seed", seed]) == 0
    assert "100 mutations of" in capsys.readouterr().out


def test_a_reader_that_raises_something_else_is_counted() -> None:
    path = ROOT / "harness" / "catalog" / "heads.toml"
    error = toml_mutations.read(path, b"x = 1", lambda: int(path.read_bytes()))
    assert isinstance(error, ValueError)


def test_scores_by_their_distance_from_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: dict[str, Any] = {"outcome": Outcome.FAIL, "reason": "relative error"}
    path = session(
        tmp_path / "cpu.duckdb",
        run_info("a", "cpu", NOON),
        cell("bert", score=0.7),
        cell("vit", score=7.9, **wrong),
        cell("t5", score=3e5, **wrong),
        cell("swin", score=float("inf"), **wrong),
        cell("gpt2", Outcome.UNTESTED),
    )
    assert scores.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["cpu", "1", "1", "2"]
    assert lines[3:] == ["7.9  cpu  vit: fail: relative error"]


@pytest.mark.parametrize("read", [0, 1])
def test_two_versions_read_what_the_other_saves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], read: int
) -> None:
    ran: list[tuple[str, str, str, tuple[str, ...]]] = []

    def run(python: Path, file: Path, models: str, *words: str) -> int:
        ran.append((python.name, file.name, models, words))
        return read if words else 0

    monkeypatch.setattr(
        swapped, "interpreter", lambda spec, _, version: Path(f"{spec.name}={version}")
    )
    monkeypatch.setattr(two_versions, "run", run)
    assert two_versions.main(["--old", "torch-cpu=4.57.6", "--models", "bert"]) == read
    old, new = ran[0][0], ran[1][0]
    assert old == "torch-cpu=4.57.6"
    assert new.startswith("torch-cpu=5.")
    assert ran == [
        (old, "old.txt", "bert", ()),
        (new, "new.txt", "bert", ()),
        (new, "old.txt", "bert", ("--read",)),
        (old, "new.txt", "bert", ("--read",)),
    ]
    assert "torch-cpu reads what torch-cpu=4.57.6 saves" in capsys.readouterr().out


def test_two_versions_need_backends_of_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    assert two_versions.main(["--old", "mock"]) == 2
    assert "expected a backend that pins transformers, found 'mock'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("times", "memory", "asked", "timed", "ended"),
    [
        ([0.01, 0.02, 0.24], 0.09, 3, True, 0),
        ([0.01, 0.11, 0.12], 0.0, 3, True, 1),  # the median
        ([0.01, 0.02, 0.26], 0.0, 3, True, 1),  # the worst
        ([0.01], 0.11, 1, True, 1),
        ([0.01], 0.0, 2, True, 1),  # a model without figures
        ([0.30], 0.0, 1, False, 0),  # a quick run
        ([0.01], 0.11, 1, False, 1),
    ],
)
def test_a_prediction_is_held_to_its_claims(
    times: list[float], memory: float, asked: int, timed: bool, ended: int
) -> None:
    assert prediction.verdict(times, [memory], asked, timed=timed) == ended


def test_what_several_processes_tell_of_a_model_is_taken_at_the_median() -> None:
    told = [
        {"cpu": [1.0, 0.9, 1.1], "memory": 10.0, "parameters": 5},
        {"cpu": [9.0, 0.8, 1.3], "memory": 12.0, "parameters": 5},
        {"cpu": [1.2, 0.7, 1.2], "memory": 11.0, "parameters": 5},
    ]
    assert prediction.medians(told) == {"cpu": [1.2, 0.8, 1.2], "memory": 11.0, "parameters": 5}
