"""Which operator unlocks what, from stored results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from harness.cell.judgement import FALLBACK, PLACEMENT
from harness.commands import operators
from harness.contract import CellResult, Metric, Outcome, RunInfo, Stage
from harness.results.operators import named
from harness.results.store import Store

#: Entry -> stage, outcome, reason, operators that ran elsewhere.
CELLS: dict[str, tuple[Stage, Outcome, str, list[str]]] = {
    "one": (Stage.VERIFY, Outcome.FAIL, f"{PLACEMENT}found 50%", ["Einsum"]),
    "two": (Stage.VERIFY, Outcome.FAIL, f"{PLACEMENT}found 50%", ["Einsum", "CumSum"]),
    "three": (Stage.VERIFY, Outcome.FAIL, f"{PLACEMENT}found 50%", ["CumSum"]),
    "four": (Stage.VERIFY, Outcome.FAIL, f"{PLACEMENT}found 50%", ["CumSum"]),
    "wrong": (Stage.VERIFY, Outcome.FAIL, "on input 'base': wrong", ["CumSum"]),
    "fine": (Stage.MEASURE, Outcome.PASS, "", ["Trilu"]),
    "named": (Stage.PREPARE, Outcome.FAIL, "no translation for aten.unfold.default", []),
    "baked": (Stage.RUN, Outcome.FAIL, "on input 'reshaped': Split node aten::split", []),
    "ours": (Stage.REFERENCE, Outcome.UNTESTED, "aten::bmm refused", []),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where an installed package looks for results
    lists = tmp_path / "model_lists"
    lists.mkdir()
    (lists / "vision.toml").write_text(
        "".join(f'[{name}]\narchitecture = "x"\n' for name in CELLS), encoding="utf-8"
    )
    (lists / "unavailable.toml").write_text("", encoding="utf-8")
    info = RunInfo("run", "chip", "2026-01-01T00:00:00+00:00", "x", False, {}, "", "", "", [], 0)
    with Store.open(tmp_path / "results" / "chip.duckdb") as store:
        store.begin(info)
        for name, (stage, outcome, reason, fallen) in CELLS.items():
            result = CellResult(name, "vision", "x", "base", "f16", stage, outcome, reason)
            result.metrics = [Metric(f"{FALLBACK}{op}", 3, "1") for op in fallen]
            result.metrics.append(Metric("partitions", 2, "1"))
            store.add("run", result)
        store.finish("run")
    return tmp_path


def run(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    operators.add_arguments(parser)
    return operators.main(parser.parse_args([*words, "--root", str(root)]))


def test_what_alone_blocks_most_comes_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {(op["backend"], op["precision"]) for op in found} == {("chip", "f16")}
    assert [op["name"] for op in found] == ["CumSum", "Einsum", "aten::unfold", "Trilu"]
    assert found[0]["alone"] == ["four", "three"]
    assert found[0]["shared"] == ["two"]
    # Wrong values are no proof against an operator that also ran elsewhere.
    assert found[0]["spared"] == ["wrong"]
    assert found[2]["alone"] == ["named"]
    assert found[3]["spared"] == ["fine"]


def test_as_markdown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 0
    out = capsys.readouterr().out
    assert "## chip, f16" in out
    assert "| `CumSum` | 2: four, three | 1: two | 1 |" in out
    assert "| `Trilu` | 0 | 0 | 1 |" in out


def test_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model_lists").mkdir()
    (tmp_path / "model_lists" / "unavailable.toml").write_text("", encoding="utf-8")
    (tmp_path / "model_lists" / "vision.toml").write_text("", encoding="utf-8")
    assert run(tmp_path) == 0
    assert "No result names an operator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("No ONNX function found for <OpOverload(op='aten.cummax', ...)>", {"aten::cummax"}),
        ("Could not find an implementation for Col2Im(18) node with name 'x'", {"Col2Im"}),
        ("No conversion rule found for operations: aten::unfold", {"aten::unfold"}),
        ("relative error 0.5, expected at most 1e-3", set()),
    ],
)
def test_operators_that_a_failure_names(reason: str, found: set[str]) -> None:
    assert named(reason) == found
