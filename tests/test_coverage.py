from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from harness.commands import coverage
from harness.contract import REAL_WEIGHTS, CellResult, HarnessError, Metric, Outcome, RunInfo, Stage
from harness.report import coverage as tables
from harness.results.store import Store

LISTS = {
    "encoder_only": [("albert", "critical"), ("bert", "critical"), ("mega", "low")],
    "speech": [("wav2vec2", "high"), ("whisper", "high")],
    "vision": [("resnet", "medium"), ("vit", "medium")],
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where an installed package looks for results
    lists = tmp_path / "model_lists"
    lists.mkdir()
    for family, rows in LISTS.items():
        text = "".join(
            f'[{name}]\narchitecture = "{name}"\ncheckpoint = "x/{name}"\npriority = "{priority}"\n'
            for name, priority in rows
        )
        (lists / f"{family}.toml").write_text(text, encoding="utf-8")
    (lists / "unavailable.toml").write_text(
        '[palm]\nkind = "closed-weights"\nreason = "API only."\n', encoding="utf-8"
    )
    for backend in ("torch_cpu", "openvino", "mock"):
        folder = tmp_path / "backends" / backend
        folder.mkdir(parents=True)
        (folder / "backend.toml").write_text('title = "A backend"\n', encoding="utf-8")
    return tmp_path


def store(
    root: Path,
    backend: str,
    cells: list[tuple[str, str, Outcome, str]],
    *,
    run_id: str = "1",
    precision: str = "default",
    emulated: bool = False,
    real: bool = False,
) -> None:
    """Stores cells of (entry, head, outcome, reason), as a session does."""
    info = RunInfo(
        run_id=f"{backend}-{run_id}",
        backend=backend,
        started_at=f"2026-01-0{run_id}T00:00:00+00:00",
        device="x",
        emulated=emulated,
        versions={},
        lock_sha256="",
        git_commit="",
        host="",
        arguments=[],
        seed=0,
        size="checkpoint" if real else "tiny",
    )
    with Store.open(root / "results" / f"{backend}.duckdb") as results:
        results.begin(info)
        for entry, head, outcome, reason in cells:
            result = CellResult(
                entry, "speech", entry, head, precision, Stage.VERIFY, outcome, reason
            )
            if real:
                result.metrics.append(Metric(REAL_WEIGHTS, 1.0, "1"))
            result.metrics += [Metric(name, 1.0, "1") for name in METRICS.get((entry, head), ())]
            results.add(info.run_id, result)
        results.finish(info.run_id)


def run(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = argparse.ArgumentParser()
    coverage.add_arguments(parser)
    assert coverage.main(parser.parse_args([*words, "--root", str(root)])) == 0
    return capsys.readouterr().out


ABSENT = "requires transformers<=4.57.6, found 5.23.0"
CELLS = [
    ("albert", "base", Outcome.PASS, ""),
    ("bert", "base", Outcome.PASS, ""),
    ("bert", "fill-mask", Outcome.FAIL, "wrong"),
    ("mega", "base", Outcome.ABSENT, ABSENT),
    ("whisper", "base", Outcome.ABSENT, "unknown model type"),
    ("vit", "base", Outcome.UNTESTED, "no build"),
]


#: Metrics that some of the cells have recorded; the failed cell is counted nowhere.
METRICS = {
    ("albert", "base"): ("wall_roundtrip", "pipelines"),
    ("bert", "base"): ("wall_roundtrip",),
    ("bert", "fill-mask"): ("wall_roundtrip", "pipelines", "wall_generate"),
}


def test_without_any_results(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(root, capsys)
    assert "| torch-cpu | 7 | 7 | 0 | 0 | not run |" in out
    assert "7 of 7 entries have run on no device." in out
    assert "- vision (2): resnet, vit" in out
    assert "- `palm`: API only." in out


def test_counts_have_honest_denominators(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", CELLS)
    out = run(root, capsys)
    # mega is not applicable; whisper is absent without its row saying so, and so counts as run;
    # bert passes in one head only.
    assert "| torch-cpu | 7 | 6 | 4 | 1 | 16.7% |" in out
    assert "| encoder-only | 3 | 0 / 0 / 3 | 0 / 0 / 3 | 1 / 2 / 2 |" in out
    assert "| critical | 2 | 0 / 0 / 2 | 0 / 0 / 2 | 1 / 2 / 2 |" in out
    assert "3 of 7 entries have run on no device." in out
    assert "- encoder-only (1): mega" in out
    assert "- vision (1): resnet" in out


def test_the_last_result_of_a_cell_counts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", CELLS)
    store(root, "torch-cpu", [("bert", "fill-mask", Outcome.PASS, "")], run_id="2")
    assert "| torch-cpu | 7 | 6 | 4 | 2 | 33.3% |" in run(root, capsys)


def test_an_emulated_device_is_named_and_left_aside(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(root, "mock", [("resnet", "base", Outcome.PASS, "")], emulated=True)
    out = run(root, capsys)
    assert "| mock (emulated) | 7 | 7 | 1 | 1 | 14.3% |" in out
    assert "7 of 7 entries have run on no device, mock (emulated) left aside." in out


def test_real_weights_stand_against_their_target(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [("wav2vec2", "base", Outcome.PASS, ""), ("bert", "base", Outcome.FAIL, "wrong")]
    store(root, "torch-cpu", cells, real=True)
    store(root, "torch-cpu", cells, run_id="2")  # of the small models, which take nothing from it
    out = run(root, capsys)
    assert "| critical | 2 | 2 | 2 (100%) | 0 (0.0%) | 2 |" in out
    assert "| high | 2 | 2 | 1 (50%) | 1 (50.0%) | 0 |" in out
    assert "| medium | 2 | 2 | 1 (25%) | 0 (0.0%) | 1 |" in out


def test_json_says_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", CELLS)
    found = json.loads(run(root, capsys, "--json"))
    (backend,) = [item for item in found["backends"] if item["name"] == "torch-cpu"]
    assert backend["total"] == {"entries": 7, "applicable": 6, "run": 4, "passed": 1}
    assert backend["never_run"] == ["wav2vec2", "resnet"]
    assert found["never_run"]["speech"] == ["wav2vec2"]


def test_a_file_that_cannot_be_read_costs_the_others_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(root, "torch-cpu", CELLS)
    (root / "results" / "openvino.duckdb").write_bytes(b"no database")
    parser = argparse.ArgumentParser()
    coverage.add_arguments(parser)
    assert coverage.main(parser.parse_args(["--root", str(root)])) == 0
    captured = capsys.readouterr()
    assert "| torch-cpu | 7 | 6 | 4 | 1 | 16.7% |" in captured.out
    assert "openvino.duckdb" in captured.err
    assert "Fix: " in captured.err


def test_other_results(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", CELLS)
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    out = run(root, capsys, "--results", str(tmp_path / "elsewhere"))
    assert "| torch-cpu | 7 | 6 | 4 | 1 | 16.7% |" in out


def test_ways_of_use_count_passing_cells(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", CELLS)
    assert "| torch-cpu (4 of 6 run) | 2 | 0 | 2 | 1 | 0 |" in run(root, capsys)
    store(root, "torch-cpu", [("bert", "fill-mask", Outcome.PASS, "")], run_id="2")
    assert "| torch-cpu (4 of 6 run) | 2 | 1 | 3 | 2 | 1 |" in run(root, capsys)


def test_the_short_tables_go_between_the_markers(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(root, "torch-cpu", CELLS)
    readme = root / "README.md"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n", encoding="utf-8")
    run(root, capsys, "--write", str(readme))
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(
        f"before\n{tables.BEGIN}\n| family | entries | torch-cpu (4 of 6 run) |\n"
    )
    assert "| encoder-only | 3 | 1 / 2 |\n" in text
    assert "| all | 7 | 1 / 4 |\n" in text
    assert "old" not in text
    assert text.endswith(f"\n{tables.END}\nafter\n")
    run(root, capsys, "--write", str(readme))
    assert readme.read_text(encoding="utf-8") == text


#: Every entry that is applicable on torch-cpu, none missing.
WHOLE = [(name, "base", Outcome.PASS, "") for rows in LISTS.values() for name, _ in rows]


def written(root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that the command puts into a README."""
    readme = root / "README.md"
    readme.write_text(f"{tables.BEGIN}\n{tables.END}\n", encoding="utf-8")
    run(root, capsys, "--write", str(readme))
    return readme.read_text(encoding="utf-8").splitlines()


def test_each_precision_has_a_column(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "openvino", WHOLE)
    failed = [(name, head, Outcome.FAIL, "wrong") for name, head, *_ in WHOLE]
    store(root, "openvino", failed, run_id="2", precision="f32")
    store(root, "torch-cpu", WHOLE)
    lines = written(root, capsys)
    assert "| family | entries | openvino | openvino f32 | torch-cpu |" in lines
    assert "| encoder-only | 3 | 3 / 3 | 0 / 3 | 3 / 3 |" in lines
    assert "| all | 7 | 7 / 7 | 0 / 7 | 7 / 7 |" in lines
    out = run(root, capsys)
    assert "| openvino | 7 | 7 | 7 | 7 | 100.0% |" in out
    assert "| openvino f32 | 7 | 7 | 7 | 0 | 0.0% |" in out
    assert "openvino f32: pass / run / applicable" in out


def test_each_precision_has_its_ways_of_use(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", WHOLE)
    store(root, "torch-cpu", WHOLE, run_id="2", precision="bf16")
    lines = written(root, capsys)
    assert "| torch-cpu | 7 | 0 | 2 | 1 | 0 |" in lines
    assert "| torch-cpu bf16 | 7 | 0 | 2 | 1 | 0 |" in lines


def test_a_whole_run_is_not_called_partial(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "torch-cpu", [cell for cell in WHOLE if cell[0] != "mega"])
    store(root, "torch-cpu", [("mega", "base", Outcome.ABSENT, ABSENT)], run_id="2")
    lines = written(root, capsys)
    assert "| family | entries | torch-cpu |" in lines
    assert not [line for line in lines if line.startswith("Partial")]


def test_a_partial_run_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(root, "mock", WHOLE[:1], emulated=True)
    store(root, "openvino", WHOLE[:2])
    store(root, "openvino", WHOLE[:3], run_id="2", precision="f32")
    store(root, "torch-cpu", WHOLE)
    lines = written(root, capsys)
    columns = [
        "mock (emulated, 1 of 7 run)",
        "openvino (2 of 7 run)",
        "openvino f32 (3 of 7 run)",
        "torch-cpu",
    ]
    assert f"| family | entries | {' | '.join(columns)} |" in lines
    assert [line.split(" | ")[0][2:] for line in lines[-5:-1]] == columns  # the ways of use
    assert (
        "Partial, with the command that runs the rest: mock (`nox -s mock`), openvino "
        "(`nox -s openvino`), openvino f32 (`nox -s openvino -- --precision f32`)."
    ) in lines


def test_entries_ruled_out_in_one_precision_are_missed_in_none(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mega` is not there, whatever the precision: six entries are applicable in both."""
    store(root, "torch-cpu", CELLS)
    store(root, "torch-cpu", WHOLE[:1], run_id="2", precision="f32")
    (line,) = [line for line in written(root, capsys) if line.startswith("| family")]
    assert line == "| family | entries | torch-cpu (4 of 6 run) | torch-cpu f32 (1 of 6 run) |"


def test_a_backend_with_a_list_of_its_own_is_whole_with_that(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "backends" / "openvino" / "backend.toml"
    path.write_text('title = "A backend"\nmodels = "vision"\n', encoding="utf-8")
    store(root, "openvino", WHOLE[-2:])
    lines = written(root, capsys)
    assert "| family | entries | openvino |" in lines
    assert "Backends with a list of their own: openvino (`vision`)." in lines
    assert "| openvino | 7 | 2 | 2 | 2 | 100.0% |" in run(root, capsys)


def test_json_has_backends_and_their_precisions(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(root, "torch-cpu", WHOLE)
    store(root, "torch-cpu", [("vit", "base", Outcome.FAIL, "")], run_id="2", precision="f32")
    found = json.loads(run(root, capsys, "--json"))
    (backend,) = [item for item in found["backends"] if item["name"] == "torch-cpu"]
    assert backend["total"] == {"entries": 7, "applicable": 7, "run": 7, "passed": 6}
    columns = {item["precision"]: item for item in found["columns"] if item["name"] == "torch-cpu"}
    assert {name: item["total"]["passed"] for name, item in columns.items()} == {
        "default": 7, "f32": 0,
    }  # fmt: skip
    assert columns["f32"]["total"]["run"] == 1
    assert len(columns["f32"]["never_run"]) == 6
    (way,) = found["ways"]
    assert (way["backend"], way["headless"]) == ("torch-cpu", 7)


@pytest.mark.parametrize("text", ["", "no markers", f"{tables.END}\n{tables.BEGIN}"])
def test_a_file_without_markers_is_left_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    readme = root / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError, match=r"expected <!-- coverage: .* Fix: put both lines"):
        run(root, capsys, "--write", str(readme))
    assert readme.read_text(encoding="utf-8") == text
