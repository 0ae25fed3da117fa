"""Public bugs: the reader of their table, the judgement on made-up results, the swapped pins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import public_bugs
from benchmarks.bug_judgement import Judgement, Row, Sighting, judge
from benchmarks.public_bugs import Bug, Session
from harness.catalog import backends, model_lists
from harness.contract import CellResult, Entry, HarnessError, Outcome, RunInfo, Stage, Verdict
from harness.environments import pins, session, swapped
from harness.results.store import Store

ROOT = Path(__file__).resolve().parent.parent
BLAME = ("causal", "future")
PASSED = Row("zamba2", "base", "default", "verify", "pass", "ok", "")
CAUSAL = replace(
    PASSED, stage="reference", outcome="untested", verdict="new", reason="Causal: moved"
)
SHAPE = replace(PASSED, stage="run", outcome="fail", verdict="new", reason="another shape")

TABLE = """
[[bug]]
name = "zamba2-leak"
report = "huggingface/transformers 47246"
title = "Later tokens reach earlier ones."
family = "state-space"
wrong = "5.12.0"
right = "5.23.0"
entry = "zamba2"
needs = "causality"
blame = ["causal"]
verified = "Moved; not."
"""


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bugs.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ---- the table


def test_every_bug_names_an_entry_of_its_family_and_a_session() -> None:
    entries = model_lists.load().entries
    for bug in public_bugs.read().values():
        assert bug.wrong != bug.right, bug.name
        assert bug.backend in backends.discover(), bug.name
        assert bug.entry in entries, bug.name


def test_there_are_thirty_bugs_and_a_quick_run_takes_two_of_them() -> None:
    bugs = public_bugs.read()
    assert len(bugs) >= 30
    assert len({bugs[name].wrong for name in public_bugs.QUICK}) == 1
    assert set(public_bugs.QUICK) <= set(bugs)


def test_a_bug_has_defaults(tmp_path: Path) -> None:
    bug = public_bugs.read(table(tmp_path, TABLE))["zamba2-leak"]
    assert (bug.package, bug.backend, bug.options) == ("transformers", "torch-cpu", ())
    assert bug.blame == ("causal",)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("wrong =", "wrnog =", "unknown key 'wrnog'"),
        ('entry = "zamba2"\n', "", "expected entry, found none"),
        ('blame = ["causal"]', 'blame = "causal"', "a list of strings"),
        ('blame = ["causal"]', "blame = []", "expected words in blame"),
        ("state-space", "state-spaces", "Did you mean"),
        ("[[bug]]", "[[bug", "expected bugs in"),
    ],
)
def test_a_fault_in_the_table_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(HarnessError, match=complaint.replace("[", r"\[")):
        public_bugs.read(table(tmp_path, TABLE.replace(old, new)))


def test_a_name_stands_once(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="found it twice"):
        public_bugs.read(table(tmp_path, TABLE + TABLE))


def test_an_unknown_bug_has_a_close_match() -> None:
    with pytest.raises(HarnessError, match="nemotron_h-chunks-leak"):
        public_bugs.chosen(public_bugs.read(), ["nemotron_h-chunk-leak"])


# ---- the judgement


def test_a_failure_that_names_the_bug_is_caught() -> None:
    caught = judge(BLAME, [PASSED, CAUSAL], [PASSED, PASSED])
    assert caught == Judgement(Sighting.CAUGHT, "reference", "Causal: moved")


def test_a_word_within_a_word_names_no_bug() -> None:
    elsewhere = replace(SHAPE, reason="no BertForCausalLM, futuristic or is_causal")
    assert judge(BLAME, [elsewhere], [PASSED]).sighting is Sighting.OTHER_BLAME
    for word in ("no Future", "two futures"):
        assert judge(BLAME, [replace(SHAPE, reason=word)], [PASSED]).sighting is Sighting.CAUGHT


def test_an_expected_failure_that_names_the_bug_is_caught_as_such() -> None:
    found = judge(BLAME, [replace(CAUSAL, verdict="xfail")], [PASSED])
    assert (found.sighting, found.expected) == (Sighting.CAUGHT, True)


def test_a_failure_about_something_else_is_no_catch() -> None:
    assert judge(BLAME, [SHAPE], [PASSED]).sighting is Sighting.OTHER_BLAME


def test_an_expected_failure_about_something_else_is_a_miss() -> None:
    assert judge(BLAME, [replace(SHAPE, verdict="xfail")], [PASSED]).sighting is Sighting.MISSED


def test_no_failure_is_a_miss() -> None:
    assert judge(BLAME, [PASSED], [PASSED]) == Judgement(Sighting.MISSED)


def test_an_expectation_that_holds_no_longer_is_no_failure() -> None:
    improved = replace(PASSED, verdict="improved", reason="causal")
    assert judge(BLAME, [improved], [improved]) == Judgement(Sighting.MISSED)


def test_the_same_failure_on_the_right_version_is_no_catch_but_a_false_alarm() -> None:
    found = judge(BLAME, [CAUSAL], [CAUSAL])
    assert found.sighting is Sighting.OTHER_BLAME
    assert found.false_alarm == "reference: Causal: moved"


def test_another_failure_on_the_right_version_is_a_false_alarm_beside_the_catch() -> None:
    found = judge(BLAME, [CAUSAL], [SHAPE])
    assert (found.sighting, found.false_alarm) == (Sighting.CAUGHT, "run: another shape")


def test_a_live_bug_has_no_right_version() -> None:
    assert judge(BLAME, [CAUSAL], None).sighting is Sighting.CAUGHT


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ([], [PASSED]),
        ([PASSED], []),
        ([replace(PASSED, outcome="absent")], [PASSED]),
        ([CAUSAL], [replace(PASSED, outcome="absent")]),
    ],
)
def test_a_bug_whose_entry_has_no_cell_is_not_run(wrong: list[Row], right: list[Row]) -> None:
    assert judge(BLAME, wrong, right).sighting is Sighting.NOT_RUN


# ---- from sessions to the report


def test_bugs_of_one_version_share_a_session_and_each_entry_runs_once(tmp_path: Path) -> None:
    bug = public_bugs.read(table(tmp_path, TABLE))["zamba2-leak"]
    other = replace(bug, name="b", entry="mamba2", wrong="5.16.0")
    live = replace(bug, name="c", right="")
    old, new, right = (
        Session("torch-cpu", "transformers", version, ())
        for version in ("5.12.0", "5.16.0", "5.23.0")
    )
    zamba2, mamba2 = public_bugs.with_branches("zamba2"), public_bugs.with_branches("mamba2")
    assert public_bugs.sessions([bug, other, live]) == {
        old: zamba2,
        right: [*zamba2, *mamba2],
        new: mamba2,
    }
    assert "zamba2_adapters" in zamba2  # a branch of the entry


def test_a_bug_is_judged_by_the_cells_of_its_own_entry(tmp_path: Path) -> None:
    bug = public_bugs.read(table(tmp_path, TABLE))["zamba2-leak"]
    wrong, right = (Session("torch-cpu", "transformers", v, ()) for v in (bug.wrong, bug.right))
    results = {wrong: [replace(CAUSAL, entry="mamba2"), PASSED], right: [PASSED]}
    assert public_bugs.judgements([bug], results)[bug.name].sighting is Sighting.MISSED
    results[wrong] = [CAUSAL]
    judged = public_bugs.judgements([bug], results)
    assert judged[bug.name].sighting is Sighting.CAUGHT
    assert "1 bugs: 1 caught; 100% caught; 0 false alarms" in public_bugs.report([bug], judged)


def test_kinds_count_what_is_caught_and_name_what_is_missed(tmp_path: Path) -> None:
    bug = public_bugs.read(table(tmp_path, TABLE))["zamba2-leak"]
    other = replace(bug, name="b", entry="mamba2")
    judged = {bug.name: judge(BLAME, [CAUSAL], None), other.name: judge(BLAME, [PASSED], None)}
    last = public_bugs.kinds([bug, other], judged).splitlines()[-1]
    assert last == "| causality | 1 of 2 | reference | 47246 `mamba2` |"


def test_the_document_has_a_place_for_the_kinds() -> None:
    text = public_bugs.DOCUMENT.read_text(encoding="utf-8")
    assert -1 < text.find(public_bugs.BEGIN) < text.find(public_bugs.END)


def test_the_report_shows_a_false_alarm(tmp_path: Path) -> None:
    bug: Bug = public_bugs.read(table(tmp_path, TABLE))["zamba2-leak"]
    text = public_bugs.report([bug], {bug.name: judge(BLAME, [PASSED], [SHAPE])})
    assert "FALSE ALARM on 5.23.0: run: another shape" in text
    assert "1 false alarms" in text


def test_rows_come_from_a_results_file(tmp_path: Path) -> None:
    entry = Entry(name="bert", architecture="bert", family="encoder-only")
    result = CellResult(
        entry.name, entry.family, entry.architecture, "base", "default", Stage.VERIFY, Outcome.FAIL,
        reason="off", error="trace", verdict=Verdict.NEW,
    )  # fmt: skip
    run = RunInfo("1", "mock", "2026-01-01T00:00:00+00:00", "d", False, {}, "", "", "", [], 0)
    with Store.open(tmp_path / "mock.duckdb") as store:
        store.begin(run)
        store.add("1", result)
    assert public_bugs.rows_of(tmp_path / "mock.duckdb") == [
        Row("bert", "base", "default", "verify", "fail", "new", "off")
    ]


def test_recorded_signatures_are_left_out(tmp_path: Path) -> None:
    spec = backends.find("torch-cpu")
    session.without_snapshot(spec.folder, tmp_path / "torch_cpu")
    copy = backends.discover(tmp_path)["torch-cpu"]
    assert (spec.snapshot, copy.snapshot) == (True, False)
    assert copy.expectations.is_file()


# ---- the environments


def test_one_package_is_swapped_and_the_others_stay() -> None:
    told = "transformers==5.23.0  # newest\ntransformers-extra\noptimum[openvino]==2.2.0\n"
    assert swapped.swapped(told, "transformers", "5.12.0") == (
        "transformers-extra\noptimum[openvino]==2.2.0\ntransformers==5.12.0\n"
    )
    assert swapped.swapped(told, "optimum", "2.1.0").endswith("-extra\noptimum==2.1.0\n")
    held = "transformers==5.23.0\n    # via x\ntransformers-extra==1\n"
    assert pins.without(held, "transformers") == "    # via x\ntransformers-extra==1\n"


@pytest.mark.parametrize("name", ["UV_FIND_LINKS", "PIP_FIND_LINKS", "UV_TORCH_BACKEND"])
def test_where_torch_comes_from_is_the_users_say(name: str) -> None:
    assert swapped.wheel_options({name: "x"}) == []
    assert swapped.wheel_options({}) == ["--torch-backend", "cpu"]


def test_removal_leaves_the_rest_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (swapped.folder() / "x").mkdir(parents=True)
    (tmp_path / "mine").touch()
    assert public_bugs.main(["--remove"]) == 0
    assert not swapped.folder().exists()
    assert (tmp_path / "mine").exists()


def test_the_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert public_bugs.main(["--list", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(public_bugs.QUICK)


def test_without_uv_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert public_bugs.main(["--quick"]) == 2
    assert "expected uv on PATH" in capsys.readouterr().err
