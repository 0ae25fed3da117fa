"""The backends for a model: what passes before what does not, the real before the emulated."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.commands import advise
from harness.contract import CellResult, HarnessError, Metric, Outcome, RunInfo, Stage, Verdict
from harness.results.store import Store

ROOT = Path(__file__).resolve().parent.parent
Make = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, make_run: Callable[..., RunInfo], make_result: Make) -> Path:
    """Results of `bert` on four backends."""

    def measured(seconds: float, **changes: Any) -> CellResult:
        metrics = [Metric("inference", seconds, "s"), *changes.pop("metrics", [])]
        given = {"verdict": Verdict.OK, "score": 1.0, "noise_floor": 2e-7, "peak_rss_mb": 400.0}
        result: CellResult = make_result("bert", metrics=metrics, **{**given, **changes})
        return result

    cells: dict[str, list[CellResult]] = {
        "torch-cpu": [
            measured(0.02),
            measured(0.01, precision="bf16", noise_floor=5e-3),
            measured(0.03, head="fill-mask"),
        ],
        "torch-cuda": [
            measured(0.001, metrics=[Metric("device_memory", 90.0, "MB")]),
            measured(
                0.0005, precision="f16", outcome=Outcome.FAIL, verdict=Verdict.XFAIL,
                reason="relative error 0.3",
            ),
        ],
        "mock": [measured(0.0001)],
        "mps": [make_result("bert", outcome=Outcome.ABSENT, stage=Stage.BUILD, reason="requires")],
        "torch-rocm": [measured(0.0001, fallback="cpu")],
    }  # fmt: skip
    for backend, results in cells.items():
        with Store.open(tmp_path / f"{backend}.duckdb") as store:
            emulated = backend == "mock"
            store.begin(make_run(backend, backend=backend, emulated=emulated, device=backend))
            for result in results:
                store.add(backend, result)
            store.finish(backend)
    return tmp_path


def ask(folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    advise.add_arguments(parser)
    return advise.main(parser.parse_args([*words, f"--results={folder}"]))


def test_the_best_comes_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "bert", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(c["backend"], c["precision"], c["head"], c["passes"]) for c in found] == [
        ("torch-cuda", "default", "base", True),
        ("torch-cpu", "bf16", "base", True),
        ("torch-cpu", "default", "base", True),
        ("torch-cpu", "default", "fill-mask", True),
        ("mock", "default", "base", True),
        ("torch-cuda", "f16", "base", False),
    ]
    assert found[0]["device_memory_mb"] == 90.0
    assert found[1]["floor"] == 5e-3
    assert found[-1]["fault"] == "fail at verify (expected): relative error 0.3"


def test_people_get_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "bert") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bert (bert), the best first"
    assert lines[2].split()[:3] == ["pass", "torch-cuda", "default"]
    assert "90 MB device" in lines[2]
    assert "400 MB host" in lines[3]
    assert "mock (emulated)" in lines[6]
    assert "  torch-cuda f16: fail at verify (expected): relative error 0.3" in lines
    never = next(line for line in lines if line.startswith("never run on "))
    assert "torch-rocm" in never  # a stand-in is no run of it
    assert "mps" in never


def test_a_model_that_never_ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "gpt2") == 1
    assert "gpt2: no results of it. Fix: nox -s torch-cpu" in capsys.readouterr().out


def test_one_entry_is_asked_for(folder: Path) -> None:
    with pytest.raises(HarnessError, match="expected one entry, found 'vision'"):
        ask(folder, "vision")
    with pytest.raises(HarnessError, match="Did you mean"):
        ask(folder, "bertt")
