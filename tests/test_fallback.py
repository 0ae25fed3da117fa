"""Missing hardware: skipped with reason and fix, an error on demand, or stood in for and marked."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from workplace import FAKES, Workplace

from harness.catalog import model_lists, selection
from harness.contract import HarnessError
from harness.results import coverage, merged, queries, totals, uncounted

NAME = "no-gpu"


def entries(workplace: Workplace) -> selection.Catalog:
    return model_lists.load(workplace.folder)


def test_it_is_skipped_with_reason_and_fix(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    done = workplace.run(NAME)
    assert done.returncode == 0, done.stdout
    assert "needs a fake GPU, and this machine shows none (/dev/no-such-gpu*)" in done.stdout
    assert "Fix: make one" in done.stdout
    assert not (workplace.results / f"{NAME}.duckdb").exists()


def test_it_can_be_an_error(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    done = workplace.run(NAME, "--require-device")
    assert done.returncode == 1
    assert "--require-device: " in done.stdout


@pytest.fixture(scope="module")
def stood_in(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A run on the fallback: three cells that are right, and one that is wrong."""
    workplace = Workplace(tmp_path_factory.mktemp("stood_in"))
    workplace.write(vision="vit poison bert wrong")
    done = workplace.run(NAME, "--fallback", "cpu", "-n", "1", "--junitxml=" + str(xml(workplace)))
    title = "no-gpu: 3 of 4 cells passed on the fallback cpu, 0 on the device"
    assert title in done.stdout, done.stdout
    assert "fallback: cpu stands in for the missing device" in done.stdout
    return workplace


def xml(workplace: Workplace) -> Path:
    return workplace.folder / "junit.xml"


def test_every_row_is_marked_and_none_counts(stood_in: Workplace) -> None:
    cells = stood_in.cells(NAME)
    assert {cell["fallback"] for cell in cells.values()} == {"cpu"}
    assert {cell["device_share"] for cell in cells.values()} == {0.0}
    assert {name: cell["outcome"] for name, cell in cells.items()} == {
        "vit": "pass", "poison": "pass", "bert": "pass", "wrong": "fail",
    }  # fmt: skip
    of_suite, of_cells = 1, 4
    marks = xml(stood_in).read_text().count('name="fallback" value="cpu"')
    assert marks == of_suite + of_cells

    catalog = entries(stood_in)
    gathered = merged.gather(merged.find(stood_in.results), list(catalog.entries.values()))
    with gathered.connection as connection:
        assert queries.cells(connection) == []
        assert totals.by_column(connection) == []
        assert uncounted.stood_in(connection) == [uncounted.StoodIn(NAME, "cpu", 4, 3)]
        (counted,) = coverage.count(catalog, {NAME: ""}, gathered).backends
    assert (counted.total.run, counted.total.passed) == (0, 0)


def test_a_neighbours_poison_is_no_fault_of_the_next(stood_in: Workplace) -> None:
    """`bert` comes after `poison` in the same worker, fails there, and passes alone."""
    path = str(stood_in.results / f"{NAME}.duckdb")
    with duckdb.connect(path, read_only=True) as connection:
        again = connection.sql("SELECT entry FROM metrics WHERE name = 'reruns' ORDER BY entry")
        assert again.fetchall() == [("bert",), ("wrong",)]
    error = stood_in.cells(NAME)["bert"]["error"]
    assert "before, beside other cells" in error
    assert "an illegal memory access" in error


def test_the_devices_results_keep_their_place(stood_in: Workplace, tmp_path: Path) -> None:
    """A later stand-in does not hide what the device itself did."""
    shutil.copytree(stood_in.folder, tmp_path / "copy")
    stood_in = Workplace(tmp_path / "copy")
    path = str(stood_in.results / f"{NAME}.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE cells SET fallback = '', outcome = 'fail' WHERE entry = 'vit'")
        connection.execute("UPDATE runs SET started_at = TIMESTAMP '2020-01-01'")
    stood_in.run(NAME, "--fallback", "cpu", "--models", "vit")
    listed = list(entries(stood_in).entries.values())
    with merged.gather(merged.find(stood_in.results), listed).connection as connection:
        assert [(cell.entry, cell.outcome) for cell in queries.cells(connection)] == [
            ("vit", "fail")
        ]


def test_expectations_are_those_of_the_device(workplace: Workplace) -> None:
    workplace.write(vision="wrong")
    done = workplace.run(NAME, "--fallback", "cpu", "--update-expectations")
    assert done.returncode == 1
    assert "Fix: --update-expectations without --fallback" in done.stdout
    assert not (FAKES / "no_gpu" / "expectations.toml").exists()


def test_a_device_that_is_there_is_not_stood_in_for(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    done = workplace.run("good", "--fallback", "cpu")
    assert done.returncode == 0, done.stdout
    assert "fallback" not in done.stdout
    (cell,) = workplace.cells("good").values()
    assert (cell["outcome"], cell["fallback"]) == ("pass", "")


def test_other_stand_ins_are_refused(workplace: Workplace) -> None:
    workplace.write(vision="vit")
    done = workplace.run(NAME, "--fallback", "npu")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "invalid choice: 'npu'" in done.stdout


def test_no_results_but_stood_in_ones_are_no_report(stood_in: Workplace) -> None:
    from harness.commands import report

    with pytest.raises(HarnessError, match="what ran with --fallback or --fault"):
        report.read(stood_in.results)
