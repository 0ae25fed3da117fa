"""Lists of one's own: one file or a folder of any name, alone or beside this project's."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from pathlib import Path

import pytest
from workplace import FAKES

from harness import __main__ as command_line
from harness.__main__ import COMMANDS
from harness.catalog import backends, model_lists
from harness.catalog.chosen_lists import OURS, ChosenLists, chosen
from harness.catalog.selection import Catalog
from harness.commands import list as list_command
from harness.contract import Cell, CellResult, HarnessError, Outcome, Stage
from harness.session.failure_text import failure_text
from harness.session.options import Options
from harness.session.run import Run

MINE = """
[our_bert]
architecture = "bert"
family = "encoder-only"
task = "fill-mask"
"""
ROW = """
[[expect]]
entry = "our_bert"
stage = "run"
owner = "ours"
reason = "Not done yet."
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_list_of_any_name_stands_alone(mine: Path) -> None:
    lists = chosen(str(mine))
    catalog = lists.catalog()
    assert list(catalog.entries) == ["our_bert"]
    assert catalog.entries["our_bert"].family == "encoder-only"
    assert lists.own_names(catalog) == {"our_bert"}
    assert lists.models(catalog, "smoke") == ["our_bert"]
    assert (str(lists), lists.folders) == (str(mine), ())


def test_a_list_stands_beside_those_of_this_project(mine: Path) -> None:
    lists = chosen(f"+{mine}")
    catalog = lists.catalog()
    smoke = [entry.name for entry in catalog.select("smoke")]
    assert lists.own_names(catalog) == {"our_bert"}
    assert lists.models(catalog, "smoke") == [*smoke, "our_bert"]
    assert (str(lists), lists.folders) == (f"+{mine}", (OURS,))


def test_the_lists_of_this_project_are_not_own() -> None:
    for lists in (ChosenLists(), chosen(str(OURS)), chosen(f"+{OURS}")):
        assert not lists.own
        assert not lists.own_names(lists.catalog())


def test_a_name_of_this_project_is_taken(mine: Path) -> None:
    mine.write_text(MINE.replace("our_bert", "bert"), encoding="utf-8")
    assert list(chosen(str(mine)).catalog().entries) == ["bert"]
    with pytest.raises(HarnessError, match=r"`bert`, which model_lists/encoder_only\.toml has"):
        chosen(f"+{mine}").catalog()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mine.toml", MINE.replace('family = "encoder-only"\n', ""), "mine.toml with none"),
        ("speech.toml", MINE, "drop it: the name of the list has the family"),
        ("mine.toml", MINE.replace("encoder-only", "encoder"), "Did you mean `encoder-only`"),
        ("spech.toml", MINE.replace('family = "encoder-only"\n', ""), "Did you mean `speech`"),
    ],
)
def test_an_entry_has_one_family(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError) as error:
        chosen(str(tmp_path / name)).catalog()
    assert words in str(error.value), error.value
    assert "Fix: " in str(error.value)


def test_lists_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"found '.*nothing\.toml', which is not there"):
        chosen(f"+{tmp_path / 'nothing.toml'}").catalog()


@pytest.mark.parametrize("beside", [False, True])
def test_no_snapshot_and_no_foreign_expectation_holds(mine: Path, beside: bool) -> None:
    run = Run(Options("torch-cpu", lists=ChosenLists(mine, beside)))
    own = run.catalog.entries["our_bert"]
    assert run.job(Cell(own, "torch-cpu")).expected_signature is None
    assert "our_bert" in run.chosen.named
    if beside:
        ours = run.catalog.entries["bert"]
        assert run.job(Cell(ours, "torch-cpu")).expected_signature is not None
    assert bool(run.expectations.rows) == bool(run.expectations.library) == beside
    with pytest.raises(HarnessError, match="--update-expectations without --lists"):
        run.update_expectations()


def test_a_folder_has_expectations_of_its_own(mine: Path) -> None:
    (mine.parent / "expectations.toml").write_text(ROW, encoding="utf-8")
    run = Run(Options("torch-cpu", lists=chosen(str(mine.parent))))
    assert [row.entry for row in run.expectations.library] == ["our_bert"]
    result = CellResult(
        "our_bert", "encoder-only", "bert", "base", "default", Stage.VERIFY, Outcome.PASS
    )
    result.verdict = run.expectations.judge(result, None)
    assert f"a failure at run ({mine.parent / 'expectations.toml'})" in failure_text(run, result)


def test_a_vendors_backend_may_expect_of_both(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vendor" / "npu"
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text('title = "An NPU"\n', encoding="utf-8")
    (folder / "backend.py").write_text("", encoding="utf-8")
    rows = ROW + ROW.replace("our_bert", "gpt2")
    (folder / "expectations.toml").write_text(rows, encoding="utf-8")
    run = Run(Options("npu", backends=folder.parent, lists=chosen(str(mine))))
    assert [row.entry for row in run.expectations.rows] == ["our_bert", "gpt2"]
    (folder / "expectations.toml").write_text(ROW.replace("our_bert", "gtp2"), encoding="utf-8")
    with pytest.raises(HarnessError, match="'gtp2'"):
        Run(Options("npu", backends=folder.parent, lists=chosen(str(mine))))


def test_commands_take_them(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    list_command.add_arguments(parser)
    assert list_command.main(parser.parse_args(["--json", "--lists", str(mine)])) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["our_bert"]


def test_a_rerun_names_them(mine: Path) -> None:
    run = Run(Options("mock", lists=chosen(f"+{mine}")))
    result = CellResult(
        "our_bert", "encoder-only", "bert", "base", "default", Stage.RUN, Outcome.FAIL
    )
    assert f"--lists=+{mine}" in run.rerun(result)


#: Commands without --lists, with the reason.
WITHOUT = {
    "run": "a session has the option",
    "devices": "about backends",
    "diff": "about cells that were stored",
    "discover": "holds the library against this project's lists",
    "dockerfile": "about backends",
    "ran": "about runs that were stored",
    "set-aside": "about files",
    "record": "writes this project's signatures",
    "record-checkpoints": "writes this project's checkpoints",
    "seeds": "writes this project's seeds",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_reads_lists_takes_others(name: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[name][0]).add_arguments(parser)
    assert ("--lists" in parser.format_help()) is (name not in WITHOUT)


def test_this_projects_lists_are_read_once_for_all_rows(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend of ours has hundreds of rows, about entries that such a list lacks."""
    read: list[Path] = []
    load = model_lists.load

    def counted() -> Catalog:
        read.append(mine)
        return load()

    monkeypatch.setattr(model_lists, "load", counted)
    Run(Options("openvino", lists=chosen(str(mine))))
    assert len(read) == 1


def test_a_backend_with_a_subset_of_this_projects_runs_all_of_another_list(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`executorch` runs `smoke` where nothing is asked for, which no other list has."""
    assert backends.find("executorch").models == "smoke"
    words = ["--lists", str(mine), "--results", str(tmp_path / "none")]
    assert command_line.main(["coverage", *words]) == 0
    assert "executorch" in capsys.readouterr().out
    assert command_line.main(["advise", "our_bert", *words]) == 1
    said = capsys.readouterr().out
    assert f"--lists={mine} --models our_bert" in said


def test_expectations_are_those_of_the_lists(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """This project's backends expect nothing of a list that stands alone; its folder may."""
    assert command_line.main(["expectations", "openvino", "--lists", str(mine)]) == 0
    assert capsys.readouterr().out == (
        f"no rows about {mine}: `expectations.toml` is read from a folder of lists. "
        "Fix: put it beside them, and name the folder\n"
    )
    theirs = shutil.copytree(FAKES / "good", tmp_path / "theirs" / "good")
    (theirs / "expectations.toml").write_text(ROW, encoding="utf-8")
    words = ["expectations", "good", "--lists", str(mine), "--backends-dir", str(theirs.parent)]
    assert command_line.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("good: 1 entry is expected to fail (1 ours)")
    assert "no rows" not in said
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "mine.toml").write_text(MINE, encoding="utf-8")
    (folder / "expectations.toml").write_text(ROW, encoding="utf-8")
    for backend in ([], ["openvino"]):
        assert command_line.main(["expectations", *backend, "--lists", str(folder)]) == 0
        assert capsys.readouterr().out.splitlines()[0] == (
            "every backend: 1 entry is expected to fail (1 ours)"
        )
    assert command_line.main(["expectations", "openvino", "--lists", f"+{mine}"]) == 0
    assert capsys.readouterr().out.startswith("openvino: ")
