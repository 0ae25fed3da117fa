"""The backends for a model: what passes before what does not, the real before the emulated."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.commands import advise
from harness.contract import (
    CellResult,
    Entry,
    HarnessError,
    Metric,
    Outcome,
    RunInfo,
    Stage,
    Verdict,
)
from harness.models.size_by_format import size_by_format
from harness.report import words as words_
from harness.results.advice import Choice
from harness.results.store import Store
from harness.toolkit.hardware import Part

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
    assert lines[1].startswith("BertModel at full size: 109 million parameters, 438 MB in float32")
    assert lines[3].split()[:3] == ["pass", "torch-cuda", "default"]
    assert "mock (emulated)" in lines[7]
    assert "real size: nothing; nox -s measure -- torch-cuda --models bert --size wide" in lines[-1]
    assert "  torch-cuda f16: fail at verify (expected): relative error 0.3" in lines
    never = next(line for line in lines if line.startswith("never run on "))
    assert "torch-rocm" in never  # a stand-in is no run of it
    assert "mps" in never


def test_a_run_at_real_size_stands_beside_the_small_model(
    folder: Path, make_run: Callable[..., RunInfo], make_result: Make, capsys: Any
) -> None:
    """Whichever of them ran last."""
    cells = {
        "wide": [Metric("measured_median", 0.1, "s"), Metric("measured_predicted", 0.3, "s")],
        "full": [Metric("inference", 0.5, "s"), Metric("measured_median", 0.4, "s")],
        "tiny": [Metric("inference", 0.01, "s")],
    }
    for number, (words, metrics) in enumerate(cells.items()):
        with Store.open(folder / "torch-cpu.duckdb") as store:
            run = make_run(f"later-{number}", backend="torch-cpu", size=words)
            store.begin(run)
            store.add(run.run_id, make_result("bert", metrics=metrics, peak_rss_mb=800.0))
            store.finish(run.run_id)
        assert ask(folder, "bert") == 0
        found = capsys.readouterr().out.splitlines()
        line = next(line for line in found if "torch-cpu default " in line)
        assert ("300 ms, – (predicted)" if words == "wide" else "400 ms, 800 MB (full)") in line
        assert ("10 ms" in line) == (words == "tiny")
        assert not any("real size: nothing" in line for line in found)


def test_whether_a_model_fits_is_told_by_the_precision() -> None:
    entry = Entry("bert", "encoder-only", "bert")
    sizes = size_by_format(entry, ["default", "bf16", "int8-like"])
    assert set(sizes.sizes) == {"f32", "bf16"}
    size = sizes.sizes["f32"]
    cpu = Part("cpu", "EPYC", size.total_bytes - 1)
    for precision, fits in (("default", "NO, "), ("bf16", "yes, ")):
        choice = choice_of(precision=precision, device="EPYC (cpu, AVX512)")
        assert advise._fits(choice, sizes, [cpu]).startswith(fits)
    for changes in ({"here": False}, {"emulated": True}, {"device": "H200 (cuda)"}):
        choice = choice_of(**{"device": "EPYC (cpu)", **changes})
        assert advise._fits(choice, sizes, [cpu]) == words_.NOTHING


def choice_of(**changes: Any) -> Choice:
    nothing = dict.fromkeys(
        ("inference_seconds", "load_seconds", "score", "floor", "device_memory_mb", "peak_rss_mb")
    )
    given = {"backend": "b", "precision": "default", "head": "base", "passes": True, "here": True}
    return Choice(**{**nothing, **given, "device": "", "emulated": False, **changes})


def test_a_model_that_never_ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "gpt2") == 1
    assert "gpt2: no results of it. Fix: nox -s torch-cpu" in capsys.readouterr().out


def test_one_entry_is_asked_for(folder: Path) -> None:
    with pytest.raises(HarnessError, match="expected one entry, found 'vision'"):
        ask(folder, "vision")
    with pytest.raises(HarnessError, match="Did you mean"):
        ask(folder, "bertt")
