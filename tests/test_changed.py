"""`--changed` leaves out the cells whose result follows from nothing that has changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from workplace import FAKES, Workplace

from harness.contract import CellResult, Outcome, RunInfo
from harness.results.last_results import ResultKey
from harness.results.store import Store
from harness.toolkit.source_files import SourceFiles, label_of

#: The reason of a cell that was left out.
UNCHANGED = re.compile(r"unchanged, not run: its result of 0 hours ago, pass, still holds")


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    """A folder of backends that a test may change."""
    folder = tmp_path / "fakes"  # whose modules import each other by this name
    shutil.copytree(FAKES / "good", folder / "good")
    shutil.copy(FAKES / "_numpy_case.py", folder)
    return folder


def outcomes(workplace: Workplace, backends: Path, *options: str) -> list[str]:
    """The entries that ran under `--changed`; each other one is left out, and said to be."""
    done = workplace.run("good", "--changed", "-rs", "-v", *options, backends=backends)
    assert done.returncode == 0, done.stdout
    skipped = re.search(r"(\d+) skipped", done.stdout)
    assert len(UNCHANGED.findall(done.stdout)) >= (1 if skipped else 0)
    return re.findall(r"(\w+)\[good-default\] PASSED", done.stdout)


def broken(backends: Path, when: str = "True") -> None:
    """Have the backend return no numbers."""
    path = backends / "good" / "backend.py"
    right = "v.astype(np.float32) for"
    text = path.read_text()
    assert right in text
    text = text.replace(right, f"v.astype(np.float32) * (np.nan if {when} else 1.0) for")
    path.write_text(text)


def test_second_run_runs_nothing(workplace: Workplace, backends: Path) -> None:
    workplace.write(vision="vit swin")
    assert outcomes(workplace, backends) == ["vit", "swin"]
    done = workplace.run("good", "--changed", backends=backends)
    assert done.returncode == 0
    assert "2 skipped" in done.stdout
    assert "2 cells unchanged, not run: their last results still hold" in done.stdout
    assert "good: nothing has changed" in done.stdout


def test_what_is_left_out_is_not_stored_as_a_result(workplace: Workplace, backends: Path) -> None:
    workplace.write(vision="vit")
    outcomes(workplace, backends)
    outcomes(workplace, backends)
    with duckdb.connect(str(workplace.results / "good.duckdb"), read_only=True) as results:
        assert results.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]
        assert results.execute("SELECT count(*) FROM cells").fetchall() == [(1,)]


def test_each_part_of_the_key_runs_the_cell_again(workplace: Workplace, backends: Path) -> None:
    """One part after the other is changed; each time the cell runs once, and then no more."""
    workplace.write(vision="vit swin")
    assert outcomes(workplace, backends) == ["vit", "swin"]
    lists = workplace.lists / "vision.toml"
    lists.write_text(lists.read_text().replace("[swin]", "[swin]\nconfig = { depth = 3 }"))
    assert outcomes(workplace, backends) == ["swin"]
    for name in ("good/backend.py", "good/backend.toml", "_numpy_case.py"):
        path = backends / name
        path.write_text(f"{path.read_text()}\n# another\n")
        assert outcomes(workplace, backends, "--models", "vit") == ["vit"], name
    (backends / "good" / "requirements.txt").write_text("numpy==2.0\n")
    assert outcomes(workplace, backends, "--models", "vit") == ["vit"]
    for options in (["--seed", "1"], ["--checks", "deep"]):
        assert outcomes(workplace, backends, "--models", "vit", *options) == ["vit"]
    other = workplace.run("good", "--changed", backends=backends, OMP_NUM_THREADS="7")
    assert "2 passed" in other.stdout


def test_files_that_no_result_follows_from_run_nothing(
    workplace: Workplace, backends: Path
) -> None:
    workplace.write(vision="vit")
    outcomes(workplace, backends)
    for name in ("README.md", "expectations.toml", "requirements.in"):
        (backends / "good" / name).write_text("# another\n")
    assert outcomes(workplace, backends) == []


def test_failure_runs_until_it_is_expected(workplace: Workplace, backends: Path) -> None:
    workplace.write(vision="vit")
    broken(backends)
    for _ in range(2):
        done = workplace.run("good", "--changed", backends=backends)
        assert "1 failed" in done.stdout, done.stdout
    row = (
        'entries = ["vit"]\nstage = "verify"\noutcome = "fail"\nmatch = "finite"\n'
        'owner = "ours"\nreason = "the backend returns no numbers"\n'
    )
    (backends / "good" / "expectations.toml").write_text(f"[[expect]]\n{row}")
    done = workplace.run("good", "--changed", "-rs", backends=backends)
    assert "its result of 0 hours ago, fail, still holds" in done.stdout, done.stdout


def test_result_that_comes_out_otherwise_is_counted(workplace: Workplace, backends: Path) -> None:
    """The planted fault: a result hangs on a file that no key knows of."""
    outside = backends.parent / "outside"
    broken(backends, f"__import__('pathlib').Path({str(outside)!r}).exists()")
    workplace.write(vision="vit swin")
    workplace.run("good", backends=backends)
    again = workplace.run("good", backends=backends)
    assert "2 cells that --changed would have left out came out as before" in again.stdout
    outside.touch()
    other = workplace.run("good", "--models", "vit", backends=backends)
    said = "NOTE: of 1 cell that --changed would have left out, 1 came out otherwise: vit["
    assert said in other.stdout, other.stdout


def test_labels_lead_to_files_and_never_outside(tmp_path: Path) -> None:
    folder = tmp_path / "backends" / "good"
    folder.mkdir(parents=True)
    (folder / "backend.py").write_text("x = 1\n")
    (folder.parent / "shared.py").write_text("y = 1\n")
    (tmp_path / "secret").write_text("z = 1\n")
    files = SourceFiles(folder)
    assert label_of(folder / "backend.py", folder) == "@/backend.py"
    assert label_of(folder.parent / "shared.py", folder) == "@@/shared.py"
    assert label_of(tmp_path / "secret", folder) is None
    assert files.files("@/backend.py") == [folder / "backend.py"]
    assert files.files("@@/shared.py") == [folder.parent / "shared.py"]
    for label in (
        "@/../../secret",
        "@@/../secret",
        f"{tmp_path}/secret",
        "/dev/zero",
        f"json:{tmp_path}/secret",
    ):
        assert files.files(label) == []
        assert files.digest(label) == ""


def test_files_of_a_package_are_found_without_importing_it() -> None:
    files = SourceFiles()
    assert [path.name for path in files.files("packaging:version.py")] == ["version.py"]
    assert "markers.py" in [path.name for path in files.files("packaging:")]
    assert files.files("no_such_package:") == []


Make = Callable[..., CellResult]


def test_last_result_is_the_one_of_the_last_run(
    tmp_path: Path, make_result: Make, make_run: Callable[..., RunInfo]
) -> None:
    first, second = (ResultKey(digest, ("harness/contract.py",)) for digest in ("one", "two"))
    with Store.open(tmp_path / "good.duckdb") as store:
        store.begin(make_run("r1"))
        store.add("r1", make_result("bert"), first)
        store.add("r1", make_result("vit"), first)
        store.begin(make_run("r2"))
        store.add("r2", make_result("bert", outcome=Outcome.FAIL, reason="wrong"), second)
        store.begin(make_run("r3", faults="nan=vit"))
        store.add("r3", make_result("vit", outcome=Outcome.FAIL), second)
        found = store.last_results("good")
    bert, vit = found["bert", "base", "default"], found["vit", "base", "default"]
    assert (bert.result.outcome, bert.result.reason, bert.key) == (Outcome.FAIL, "wrong", second)
    assert (vit.result.outcome, vit.key) == (Outcome.PASS, first)
