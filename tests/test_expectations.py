from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.catalog import backends, model_lists
from harness.catalog.chosen_lists import OURS
from harness.catalog.selection import Catalog, UnavailableModel
from harness.commands import expectations
from harness.contract import GREEN, CellResult, Device, Entry, HarnessError, Outcome, Stage, Verdict
from harness.results import expectations_file
from harness.results.expectations import Expectations, device_text
from harness.results.expectations_update import updated

NAMES = ("bert", "gpt2", "qwen3", "t5")
CATALOG = Catalog(
    entries={name: Entry(name, "encoder-only", name) for name in NAMES},
    unavailable={"palm": UnavailableModel("palm", "closed-weights", "API only.")},
    subsets={},
    files={},
    _spellings={},
)
ROW = """
[[expect]]
entry = "bert"
stage = "run"
match = "RuntimeError: no kernel"
owner = "upstream"
reason = "No kernel."
"""


def cell(
    entry: str = "bert",
    outcome: Outcome = Outcome.FAIL,
    stage: Stage = Stage.RUN,
    *,
    cause: str = "RuntimeError: no kernel",
    reason: str = "",
    error: str = "",
    head: str = "base",
    precision: str = "default",
) -> CellResult:
    if outcome is Outcome.PASS:
        stage, cause = Stage.VERIFY, ""
    return CellResult(
        entry, "encoder-only", entry, head, precision, stage, outcome, reason, cause, error
    )


def read(tmp_path: Path, text: str, precisions: Iterable[str] = ()) -> Expectations:
    path = tmp_path / "expectations.toml"
    path.write_text(text, encoding="utf-8")
    return expectations_file.load(path, CATALOG, precisions=tuple(precisions))


# ---- judging


@pytest.mark.parametrize(
    ("row", "result", "history", "verdict"),
    [
        ("", cell(outcome=Outcome.PASS), None, Verdict.OK),
        ("", cell(outcome=Outcome.PASS), Outcome.FAIL, Verdict.OK),
        ("", cell(), None, Verdict.NEW),
        ("", cell(), Outcome.FAIL, Verdict.NEW),
        ("", cell(), Outcome.PASS, Verdict.REGRESSED),
        (ROW, cell(), Outcome.PASS, Verdict.XFAIL),
        (ROW, cell(outcome=Outcome.CRASH), None, Verdict.XFAIL),
        (ROW, cell(cause="", error="x\nRuntimeError: no kernel for y"), None, Verdict.XFAIL),
        (ROW, cell(cause="", reason="RuntimeError: no kernel"), None, Verdict.XFAIL),
        (ROW, cell(cause="other"), Outcome.PASS, Verdict.CHANGED),
        (ROW, cell(stage=Stage.PREPARE), None, Verdict.CHANGED),
        (ROW + 'outcome = "fail"\n', cell(outcome=Outcome.CRASH), None, Verdict.CHANGED),
        (ROW, cell(outcome=Outcome.PASS), None, Verdict.IMPROVED),
        (ROW, cell("gpt2"), None, Verdict.NEW),
        (ROW + 'precision = "f16"\n', cell(), None, Verdict.NEW),
        (ROW + 'precision = "f16"\n', cell(precision="f16"), None, Verdict.XFAIL),
        (ROW + 'head = "base"\n', cell(head="fill-mask"), None, Verdict.NEW),
        (ROW, cell(head="fill-mask", precision="f16"), None, Verdict.XFAIL),
        ("", cell(outcome=Outcome.ABSENT, reason="requires timm, not installed"), None,
         Verdict.XFAIL),
        ("", cell(outcome=Outcome.ABSENT, reason="unknown model type"), None, Verdict.NEW),
        ("", cell(outcome=Outcome.ABSENT, reason="unknown model type"), Outcome.PASS,
         Verdict.REGRESSED),
    ],
)  # fmt: skip
def test_verdicts(
    tmp_path: Path, row: str, result: CellResult, history: Outcome | None, verdict: Verdict
) -> None:
    assert read(tmp_path, row).judge(result, history) is verdict


def test_entries_that_a_backend_does_not_promise_may_be_absent(tmp_path: Path) -> None:
    loaded = replace(read(tmp_path, ""), promised=["bert"])
    absent: dict[str, Any] = {"outcome": Outcome.ABSENT, "reason": "unknown model type"}
    assert loaded.judge(cell("gpt2", **absent), None) is Verdict.XFAIL
    assert loaded.judge(cell("bert", **absent), None) is Verdict.NEW
    assert loaded.judge(cell("gpt2"), None) is Verdict.NEW
    written = tomllib.loads(updated(loaded, [cell("gpt2", **absent), cell("bert", **absent)]))
    assert [row["entry"] for row in written["expect"]] == ["bert"]


def test_a_row_without_match_fits_every_cause_of_its_stage(tmp_path: Path) -> None:
    loaded = read(tmp_path, ROW.replace('match = "RuntimeError: no kernel"\n', ""))
    assert loaded.judge(cell(cause="anything"), None) is Verdict.XFAIL


def test_match_is_a_piece_of_text_and_no_pattern(tmp_path: Path) -> None:
    loaded = read(tmp_path, ROW.replace("RuntimeError: no kernel", "a[0].b(*"))
    assert loaded.judge(cell(cause="x a[0].b(* y"), None) is Verdict.XFAIL
    assert loaded.judge(cell(cause="a0Xb"), None) is Verdict.CHANGED


def test_the_narrowest_row_decides(tmp_path: Path) -> None:
    narrow = ROW.replace("no kernel", "overflow") + 'precision = "f16"\n'
    loaded = read(tmp_path, ROW + narrow)
    assert loaded.judge(cell(), None) is Verdict.XFAIL
    assert loaded.judge(cell(precision="f16"), None) is Verdict.CHANGED
    overflow = cell(precision="f16", cause="RuntimeError: overflow")
    assert loaded.judge(overflow, None) is Verdict.XFAIL


def test_one_row_may_name_several_entries(tmp_path: Path) -> None:
    loaded = read(tmp_path, ROW.replace('entry = "bert"', 'entries = ["bert", "t5"]'))
    assert [loaded.judge(cell(name), None) for name in ("bert", "t5", "gpt2")] == [
        Verdict.XFAIL,
        Verdict.XFAIL,
        Verdict.NEW,
    ]


# ---- reading


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROW + 'stgae = "run"\n', [":8:", "`stgae`", "Did you mean `stage`"]),
        (ROW.replace('"bert"', '"bret"'), [":3:", "'bret'", "Did you mean `bert`?"]),
        (ROW.replace('"bert"', '"palm"'), [":3:", "unavailable.toml", "stale"]),
        (ROW.replace('"run"', '"rnu"'), [":4:", "build, inputs", "`run`"]),
        (ROW.replace('"upstream"', '"upstrem"'), [":6:", "ours, upstream, never", "`upstream`"]),
        (ROW + 'outcome = "pass"\n', [":8:", "fail, crash"]),
        (ROW + 'precision = "fp16"\n', [":8:", "default, f16", "`f16`"]),
        (ROW + 'entries = ["t5"]\n', [":8:", "one of the two", "both"]),
        (ROW.replace('entry = "bert"\n', ""), [":2:", "`entry` or `entries`"]),
        (ROW.replace('entry = "bert"\n', "entries = []\n"), [":3:", "`entry` or `entries`"]),
        (
            ROW.replace('stage = "run"\n', ""),
            [":2:", "`stage` or `stages`", 'write stage = "verify"'],
        ),
        (ROW.replace('owner = "upstream"\n', ""), [":2:", "`owner`"]),
        (ROW.replace('reason = "No kernel."\n', ""), [":2:", "`reason`"]),
        (ROW.replace('"No kernel."', "3"), [":7:", "a string", "found 3"]),
        (ROW + ROW, [":10:", "one row a cell", "the first is at line 2"]),
        (ROW.replace('entry = "bert"', 'entries = ["t5", "t5"]'), ["one row a cell", "'t5'"]),
        (ROW.replace("[[expect]]", "[expect]"), ["two brackets"]),
        (ROW.replace("[[expect]]", "[[expects]]"), ["`expects`", "Did you mean `expect`?"]),
        (ROW + "x =\n", [":8", "expected TOML"]),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(HarnessError) as error:
        read(tmp_path, text, precisions=["default", "f16"])
    for word in ["expectations.toml", *words, "Fix: "]:
        assert word in str(error.value), str(error.value)


def test_two_rows_of_one_entry_may_differ_in_scope(tmp_path: Path) -> None:
    loaded = read(tmp_path, ROW + ROW + 'precision = "f16"\n' + ROW + 'head = "base"\n')
    assert len(loaded.rows) == 3


def test_a_cell_may_fail_at_one_of_two_stages(tmp_path: Path) -> None:
    verify = ROW.replace('stage = "run"', 'stage = "verify"').replace("RuntimeError: ", "")
    found = read(tmp_path, ROW + verify)
    elsewhere = cell(stage=Stage.VERIFY, cause="CheckFailed: no kernel")
    assert found.judge(cell(), None) is found.judge(elsewhere, None) is Verdict.XFAIL
    assert found.judge(cell(stage=Stage.PREPARE), None) is Verdict.CHANGED
    assert found.judge(cell(outcome=Outcome.PASS), None) is Verdict.IMPROVED
    for result in (cell(), elsewhere):
        assert set(read(tmp_path, updated(found, [result])).rows) == set(found.rows)
    assert not read(tmp_path, updated(found, [cell(outcome=Outcome.PASS)])).rows


def test_a_row_may_name_several_stages(tmp_path: Path) -> None:
    row = ROW.replace('stage = "run"', 'stages = ["verify", "generate"]')
    found = read(tmp_path, row)
    for stage in (Stage.VERIFY, Stage.GENERATE):
        assert found.judge(cell(stage=stage), None) is Verdict.XFAIL
    assert found.judge(cell(), None) is Verdict.CHANGED
    both = cell(stage=Stage.VERIFY)
    both.fail(cell(stage=Stage.GENERATE).failures[0])
    assert tomllib.loads(updated(found, [both])) == tomllib.loads(row)


def several(*stages: Stage) -> CellResult:
    """A cell that fails at each of these stages."""
    first, *others = (cell(stage=stage, cause=f"CheckFailed: at {stage}") for stage in stages)
    first.further = [failure for other in others for failure in other.failures]
    return first


def test_each_failure_of_a_cell_must_be_named(tmp_path: Path) -> None:
    verify, generate = (
        ROW.replace('"run"', f'"{stage}"').replace("RuntimeError: no kernel", f"at {stage}")
        for stage in (Stage.VERIFY, Stage.GENERATE)
    )
    both = several(Stage.VERIFY, Stage.GENERATE)
    assert read(tmp_path, verify + generate).judge(both, None) is Verdict.XFAIL
    alone = read(tmp_path, verify)
    assert alone.judge(several(Stage.VERIFY), None) is Verdict.XFAIL
    assert alone.judge(both, None) is Verdict.CHANGED
    assert [failure.stage for failure in alone.unexpected(both)] == [Stage.GENERATE]
    assert read(tmp_path, "").judge(both, None) is Verdict.NEW
    rewritten = read(tmp_path, updated(alone, [both]))
    assert rewritten.judge(both, None) is Verdict.XFAIL
    assert [row.failure.reason for row in rewritten.rows] == ["No kernel.", ""]


def test_two_failures_at_one_stage_have_a_row_each(tmp_path: Path) -> None:
    other = ROW.replace("RuntimeError: no kernel", "static cache")
    found = read(tmp_path, ROW + other)
    result = cell()
    result.further = cell(cause="CheckFailed: static cache").failures
    assert found.judge(result, None) is Verdict.XFAIL
    assert set(read(tmp_path, updated(found, [result])).rows) == set(found.rows)


def test_a_blank_reason_is_a_warning(tmp_path: Path) -> None:
    loaded = read(tmp_path, ROW.replace("No kernel.", " "))
    assert len(loaded.warnings) == 1
    assert "expectations.toml:7: the reason is blank" in loaded.warnings[0]
    assert loaded.judge(cell(), None) is Verdict.XFAIL


def test_a_missing_file_expects_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "torch_cpu"
    loaded = expectations_file.load(folder / "expectations.toml", CATALOG)
    assert loaded.rows == ()
    assert "nox -s torch-cpu --" in updated(loaded, [])


# ---- rewriting


def test_a_rewrite_keeps_what_did_not_run_and_what_still_fits(tmp_path: Path) -> None:
    text = (
        "# Ours.\n"
        + ROW.replace('entry = "bert"', 'entries = ["bert", "gpt2"]') + 'issue = "https://x/1"\n'
        + ROW.replace('"bert"', '"t5"')
    )  # fmt: skip
    results = [cell("bert"), cell("gpt2", Outcome.PASS), cell("qwen3", cause="new fault")]
    assert (
        updated(read(tmp_path, text), results)
        == """\
# Ours.

[[expect]]
entry = "bert"
stage = "run"
match = "RuntimeError: no kernel"
owner = "upstream"
reason = "No kernel."
issue = "https://x/1"

[[expect]]
entry = "t5"
stage = "run"
match = "RuntimeError: no kernel"
owner = "upstream"
reason = "No kernel."

[[expect]]
entry = "qwen3"
stage = "run"
outcome = "fail"
match = "new fault"
owner = "ours"
reason = ""
"""
    )


def test_a_changed_failure_loses_its_reason(tmp_path: Path) -> None:
    text = updated(read(tmp_path, ROW), [cell(cause="another")])
    (row,) = tomllib.loads(text)["expect"]
    assert (row["match"], row["reason"]) == ("another", "")


def test_entries_with_one_cause_share_a_row(tmp_path: Path) -> None:
    text = updated(read(tmp_path, ""), [cell("t5"), cell("bert"), cell("gpt2", cause="other")])
    rows = tomllib.loads(text)["expect"]
    assert [row.get("entries", row.get("entry")) for row in rows] == [["bert", "t5"], "gpt2"]


def test_declared_absence_needs_no_row(tmp_path: Path) -> None:
    absent = cell(outcome=Outcome.ABSENT, reason="requires timm, not installed", cause="")
    assert "[[expect]]" not in updated(read(tmp_path, ""), [absent])


def test_a_wide_row_is_narrowed_to_the_precision_that_fails(tmp_path: Path) -> None:
    results = [
        cell(precision="f16"),
        cell(precision="f16", head="fill-mask"),
        cell(precision="f32", outcome=Outcome.PASS),
        cell(precision="f32", head="fill-mask", outcome=Outcome.PASS),
    ]
    (row,) = tomllib.loads(updated(read(tmp_path, ROW), results))["expect"]
    assert (row["precision"], row["reason"]) == ("f16", "No kernel.")
    assert "head" not in row


def test_a_narrow_row_of_another_precision_stays(tmp_path: Path) -> None:
    text = ROW + 'precision = "f16"\n'
    (row,) = tomllib.loads(updated(read(tmp_path, text), [cell(outcome=Outcome.PASS)]))["expect"]
    assert row["precision"] == "f16"


RESULTS = st.builds(
    cell,
    st.sampled_from(NAMES),
    st.sampled_from(
        [Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.CRASH, Outcome.UNTESTED, Outcome.ABSENT]
    ),
    st.sampled_from([Stage.BUILD, Stage.RUN]),
    cause=st.sampled_from(["one", "two"]),
    reason=st.sampled_from(["requires timm, not installed", "why"]),
    head=st.sampled_from(["base", "fill-mask"]),
    precision=st.sampled_from(["default", "f16"]),
)
RUNS = st.lists(
    RESULTS, max_size=12, unique_by=lambda result: (result.entry, result.head, result.precision)
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(RUNS, RUNS)
def test_after_a_rewrite_the_same_results_are_green(
    tmp_path_factory: pytest.TempPathFactory, first: list[CellResult], second: list[CellResult]
) -> None:
    folder = tmp_path_factory.mktemp("x")
    once = read(folder, updated(read(folder, ""), first))
    assert {once.judge(result, Outcome.PASS) for result in first} <= GREEN
    assert updated(once, first) == updated(read(folder, ""), first)
    twice = read(folder, updated(once, second))
    assert {twice.judge(result, Outcome.PASS) for result in second} <= GREEN
    ran = {result.entry for result in second}
    kept = [row for row in once.rows if row.entry not in ran]
    assert sorted(map(str, kept)) == sorted(str(row) for row in twice.rows if row.entry not in ran)


# ---- python -m harness expectations


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model_lists").mkdir()
    (tmp_path / "model_lists" / "speech.toml").write_text(
        "".join(f'[{name}]\narchitecture = "{name}"\n' for name in NAMES), encoding="utf-8"
    )
    for backend in ("torch_cpu", "mock"):
        folder = tmp_path / "backends" / backend
        folder.mkdir(parents=True)
        (folder / "backend.toml").write_text('title = "A backend"\n', encoding="utf-8")
    return tmp_path


def run(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    expectations.add_arguments(parser)
    return expectations.main(parser.parse_args([*words, "--root", str(root)]))


def test_the_command_shows_causes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "backends" / "torch_cpu" / "expectations.toml"
    path.write_text(ROW.replace('entry = "bert"', 'entries = ["t5", "bert"]'), encoding="utf-8")
    assert run(root) == 0
    assert capsys.readouterr().out == (
        "mock: 0 entries are expected to fail\n"
        "torch-cpu: 2 entries are expected to fail (2 upstream)\n"
        "     2 upstream run: No kernel.\n"
        "       bert, t5\n"
    )
    assert run(root, "torch_cpu", "--json") == 0
    assert [row["entry"] for row in json.loads(capsys.readouterr().out)] == ["t5", "bert"]


def test_the_command_fails_on_a_blank_reason(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "backends" / "mock" / "expectations.toml"
    path.write_text(ROW.replace("No kernel.", ""), encoding="utf-8")
    assert run(root, "mock") == 1
    captured = capsys.readouterr()
    assert "(no reason)" in captured.out
    assert "the reason is blank" in captured.err


def test_the_command_knows_the_backends(root: Path) -> None:
    shutil.rmtree(root / "backends" / "mock")
    with pytest.raises(HarnessError, match=r"Did you mean `torch-cpu`\?"):
        run(root, "torch-cup")


# ---- rows of one device

ON_EMULATOR = ROW.replace("owner", 'device = "emulated"\nowner')
SWIFTSHADER = device_text(
    Device("WebGPU on google swiftshader", "gpu", {}, "Chromium 156", emulated=True)
)
GPU = device_text(Device("NVIDIA H200", "gpu", {}, "595.1"))


def test_device_is_told_by_kind_name_driver_and_emulation() -> None:
    assert SWIFTSHADER == "gpu: WebGPU on google swiftshader; Chromium 156; emulated"
    assert GPU == "gpu: NVIDIA H200; 595.1"


@pytest.mark.parametrize(
    ("device", "outcome", "verdict"),
    [
        (SWIFTSHADER, Outcome.FAIL, Verdict.XFAIL),
        (SWIFTSHADER, Outcome.PASS, Verdict.IMPROVED),
        (GPU, Outcome.FAIL, Verdict.NEW),
        (GPU, Outcome.PASS, Verdict.OK),
        (None, Outcome.FAIL, Verdict.XFAIL),
    ],
)
def test_row_of_a_device_counts_on_no_other(
    device: str | None, outcome: Outcome, verdict: Verdict, tmp_path: Path
) -> None:
    known = replace(read(tmp_path, ON_EMULATOR), device=device)
    assert known.judge(cell(outcome=outcome), None) is verdict


def test_row_of_a_device_puts_no_other_row_aside(tmp_path: Path) -> None:
    wide = ROW.replace("run", "verify").replace("no kernel", "off")
    known = replace(read(tmp_path, wide + ON_EMULATOR), device=SWIFTSHADER)
    assert known.judge(cell(stage=Stage.VERIFY, cause="RuntimeError: off"), None) is Verdict.XFAIL


def test_rewriting_keeps_rows_of_other_devices(tmp_path: Path) -> None:
    known = replace(read(tmp_path, ON_EMULATOR), device=GPU)
    assert 'device = "emulated"' in updated(known, [cell(outcome=Outcome.PASS)])
    there = replace(known, device=SWIFTSHADER)
    assert 'device = "emulated"' in updated(there, [cell()])
    assert "[[expect]]" not in updated(there, [cell(outcome=Outcome.PASS)])


# ---- rows of one set of checks, and rows at another size

DEEP_ALONE = ROW.replace("owner", 'checks = "deep"\nowner')


@pytest.mark.parametrize(
    ("checks", "outcome", "verdict"),
    [
        ("deep", Outcome.FAIL, Verdict.XFAIL),
        ("deep", Outcome.PASS, Verdict.IMPROVED),
        ("default", Outcome.FAIL, Verdict.NEW),
        ("default", Outcome.PASS, Verdict.OK),
        (None, Outcome.FAIL, Verdict.XFAIL),
    ],
)
def test_row_of_a_set_of_checks_counts_with_no_other(
    checks: str | None, outcome: Outcome, verdict: Verdict, tmp_path: Path
) -> None:
    known = replace(read(tmp_path, DEEP_ALONE), checks=checks)
    assert known.judge(cell(outcome=outcome), None) is verdict
    library = replace(known, rows=(), library=known.rows, checks_library=True)
    assert library.judge(cell(outcome=outcome), None) is verdict


IN_BFLOAT16 = ROW.replace("owner", 'dtype = "bfloat16"\nowner')


@pytest.mark.parametrize(
    ("dtypes", "outcome", "verdict"),
    [
        ({"default": "bfloat16"}, Outcome.FAIL, Verdict.XFAIL),
        ({"default": "bfloat16"}, Outcome.PASS, Verdict.IMPROVED),
        ({"default": "float32"}, Outcome.FAIL, Verdict.NEW),
        ({"default": "float32"}, Outcome.PASS, Verdict.OK),
        ({}, Outcome.FAIL, Verdict.XFAIL),
    ],
)
def test_row_of_a_dtype_follows_the_arithmetic(
    dtypes: dict[str, str], outcome: Outcome, verdict: Verdict, tmp_path: Path
) -> None:
    known = replace(read(tmp_path, IN_BFLOAT16), dtypes=dtypes)
    assert known.judge(cell(outcome=outcome), None) is verdict


def test_row_of_a_dtype_is_narrower_than_one_of_any(tmp_path: Path) -> None:
    wide = ROW.replace("run", "verify").replace("no kernel", "off")
    known = replace(read(tmp_path, wide + IN_BFLOAT16), dtypes={"default": "bfloat16"})
    off = cell(stage=Stage.VERIFY, cause="RuntimeError: off")
    assert known.judge(off, None) is Verdict.CHANGED
    there = replace(known, dtypes={"default": "float32"})
    assert there.judge(off, None) is Verdict.XFAIL


def test_rewriting_keeps_rows_of_other_dtypes(tmp_path: Path) -> None:
    known = replace(read(tmp_path, IN_BFLOAT16), dtypes={"default": "float32"})
    assert 'dtype = "bfloat16"' in updated(known, [cell(outcome=Outcome.PASS)])


def test_rewriting_keeps_rows_of_other_checks(tmp_path: Path) -> None:
    known = replace(read(tmp_path, DEEP_ALONE), checks="default")
    assert 'checks = "deep"' in updated(known, [cell(outcome=Outcome.PASS)])


def test_what_fails_when_tiny_need_not_fail_at_another_size(tmp_path: Path) -> None:
    known = replace(read(tmp_path, ROW), must_show=False)
    assert known.judge(cell(outcome=Outcome.PASS), None) is Verdict.OK
    assert known.judge(cell(), None) is Verdict.XFAIL
    assert known.judge(cell(cause="RuntimeError: other"), None) is Verdict.CHANGED


# ---- the files of this repository


@pytest.mark.parametrize("backend", sorted(backends.discover()))
def test_every_expectation_of_this_repository_is_whole(backend: str) -> None:
    loaded = expectations_file.load(backends.find(backend).expectations, model_lists.load())
    assert not loaded.warnings, "\n".join(loaded.warnings)


# ---- faults of the libraries, which all backends share


def of_library(root: Path, text: str = ROW) -> Expectations:
    (root / "model_lists").mkdir(exist_ok=True)
    (root / "model_lists" / "expectations.toml").write_text(text, encoding="utf-8")
    return expectations_file.load_library(root / "model_lists", CATALOG)


@pytest.mark.parametrize(
    ("checks_library", "result", "verdict"),
    [
        (False, cell(), Verdict.XFAIL),
        (True, cell(), Verdict.XFAIL),
        (False, cell(outcome=Outcome.PASS), Verdict.OK),
        (True, cell(outcome=Outcome.PASS), Verdict.IMPROVED),
        (False, cell(cause="other"), Verdict.NEW),
        (True, cell(cause="other"), Verdict.CHANGED),
        (False, cell("gpt2"), Verdict.NEW),
    ],
)
def test_fault_of_a_library_may_show_anywhere_and_must_on_eager_backends(
    tmp_path: Path, checks_library: bool, result: CellResult, verdict: Verdict
) -> None:
    library = of_library(tmp_path).rows
    known = Expectations(library=library, checks_library=checks_library)
    assert known.judge(result, None) is verdict


def test_fault_of_a_library_stands_beside_one_of_the_backend(tmp_path: Path) -> None:
    narrow = ROW.replace("run", "verify").replace("no kernel", "off") + 'head = "base"\n'
    known = replace(read(tmp_path, narrow), library=of_library(tmp_path).rows)
    both = cell()
    both.fail(cell(stage=Stage.VERIFY, cause="RuntimeError: off").failures[0])
    assert known.judge(both, None) is Verdict.XFAIL
    assert known.judge(cell(), None) is Verdict.XFAIL
    both.fail(cell(stage=Stage.GENERATE, cause="a third").failures[0])
    assert [found.cause for found in known.unexpected(both)] == ["a third"]


def test_rewriting_writes_no_fault_of_a_library_into_a_backends_file(tmp_path: Path) -> None:
    library = of_library(tmp_path).rows
    known = replace(read(tmp_path, ROW), library=library)
    assert "[[expect]]" not in updated(known, [cell()])
    assert 'match = "other"' in updated(known, [cell(cause="other")])


def test_the_command_shows_faults_of_the_libraries_first(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_library(root)
    assert run(root) == 0
    assert capsys.readouterr().out.startswith("every backend: 1 entry is expected to fail")


def test_faults_of_the_libraries_are_read_strictly(tmp_path: Path) -> None:
    assert not expectations_file.load_library(tmp_path / "model_lists", CATALOG).rows
    with pytest.raises(HarnessError, match=r"model_lists/expectations\.toml:.*'brt'"):
        of_library(tmp_path, ROW.replace("bert", "brt"))


def test_faults_of_the_libraries_in_this_repository_are_whole() -> None:
    loaded = expectations_file.load_library(OURS, model_lists.load())
    assert loaded.rows
    assert not loaded.warnings
