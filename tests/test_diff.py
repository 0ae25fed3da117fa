"""Differences of two results: which cells changed and why, in what, and how fast."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored_results import MORNING, NIGHT, NOON, cell, run_info, session

from harness import __main__ as command_line
from harness.commands import diff
from harness.contract import CellResult, HarnessError, Metric, Outcome, Stage, Verdict
from harness.report.comparison import markdown, text
from harness.results import merged, side
from harness.results.changed_cells import CellKey, Kind
from harness.results.comparison import Comparison, compare
from harness.results.ratios import QUANTITIES, ratios

INFERENCE = QUANTITIES[0]


def failed(entry: str, **changes: object) -> CellResult:
    given: dict[str, object] = {
        "stage": Stage.VERIFY,
        "verdict": Verdict.NEW,
        "reason": "relative error 0.3",
        "cause": "error",
    }
    return cell(entry, Outcome.FAIL, **(given | changes))


def sides(folder: Path, before: Sequence[CellResult], after: Sequence[CellResult]) -> Comparison:
    session(folder / "a" / "cpu.duckdb", run_info("a", "cpu", MORNING), *before)
    session(folder / "b" / "cpu.duckdb", run_info("b", "cpu", NOON), *after)
    return compare(*(side.find(str(folder / name), folder, folder) for name in "ab"))


def kinds(found: Comparison) -> dict[str, Kind]:
    return {c.key.name: c.kind for group in found.groups for c in group.changes}


def status(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    diff.add_arguments(parser)
    return diff.main(parser.parse_args(arguments))


class TestCells:
    def test_each_kind_of_change(self, tmp_path: Path) -> None:
        found = sides(
            tmp_path,
            [cell("bert"), failed("albert"), failed("esm"), cell("vit"), cell("gpt2")],
            [failed("bert"), cell("albert"), failed("esm", cause="x", reason="y"), cell("swin"),
             cell("gpt2")],
        )  # fmt: skip
        assert kinds(found) == {
            "bert": Kind.REGRESSED,
            "esm": Kind.CHANGED,
            "swin": Kind.NEW,
            "vit": Kind.GONE,
            "albert": Kind.IMPROVED,
        }
        assert (found.common, found.passing, found.worse) == (4, (2, 2), 2)

    def test_heads_and_precisions_are_cells_of_their_own(self, tmp_path: Path) -> None:
        head: dict[str, Any] = {"head": "fill-mask"}
        found = sides(
            tmp_path,
            [cell("bert"), cell("bert", **head), cell("bert", precision="bf16")],
            [cell("bert"), failed("bert", **head), cell("bert", precision="bf16")],
        )
        assert kinds(found) == {"bert:fill-mask": Kind.REGRESSED}

    def test_an_absent_cell_counts_as_not_run(self, tmp_path: Path) -> None:
        absent = cell("bert", Outcome.ABSENT, stage=Stage.BUILD)
        found = sides(tmp_path, [absent, cell("vit")], [cell("bert"), cell("vit")])
        assert kinds(found) == {"bert": Kind.NEW}
        assert found.worse == 0

    def test_the_same_reason_is_no_change_whatever_its_fingerprint(self, tmp_path: Path) -> None:
        found = sides(tmp_path, [failed("bert", cause="old")], [failed("bert", cause="new")])
        assert found.groups == ()

    def test_another_stage_is_a_change(self, tmp_path: Path) -> None:
        found = sides(tmp_path, [failed("bert")], [failed("bert", stage=Stage.RUN)])
        assert kinds(found) == {"bert": Kind.CHANGED}

    def test_causes_group_the_cells_the_largest_first(self, tmp_path: Path) -> None:
        names = ("bert", "albert", "esm")
        found = sides(
            tmp_path,
            [cell(name) for name in names],
            [
                failed("bert", cause="one"),
                failed("albert", cause="two"),
                failed("esm", cause="two"),
            ],
        )
        assert [len(group.changes) for group in found.groups] == [2, 1]

    def test_only_an_unexpected_failure_is_worse(self, tmp_path: Path) -> None:
        found = sides(tmp_path, [cell("bert")], [failed("bert", verdict=Verdict.XFAIL)])
        assert kinds(found) == {"bert": Kind.REGRESSED}
        assert found.worse == 0
        assert "as expected" in text(found)


class TestSides:
    def test_a_run_and_the_one_before_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("first", "cpu", MORNING), cell("bert"), cell("vit"))
        session(path, run_info("second", "cpu", NOON), failed("bert"))
        session(path, run_info("third", "cpu", NIGHT), cell("bert"), cell("vit"))
        assert status("cpu~1", "cpu", "--results", str(tmp_path)) == 0
        assert "1 improved" in capsys.readouterr().out
        assert status("first", "sec", "--results", str(tmp_path)) == 1
        told = capsys.readouterr().out
        assert "1 regressed" in told
        assert "1 gone" in told  # vit, which the second run did not have

    def test_by_default_a_run_is_held_against_the_last_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("first", "cpu", MORNING), cell("bert"))
        session(path, run_info("second", "cpu", NOON), failed("bert"))
        assert status("cpu~1", "--results", str(tmp_path)) == 1
        assert "cpu, run second" in capsys.readouterr().out

    def test_shards_in_subfolders_are_one_side(self, tmp_path: Path) -> None:
        for number, entry in enumerate(("bert", "vit")):
            shard = tmp_path / "a" / str(number) / "cpu.duckdb"
            session(shard, run_info(f"a{number}", "cpu", MORNING), cell(entry))
        session(tmp_path / "b.duckdb", run_info("b", "cpu", NOON), cell("bert"), failed("vit"))
        found = compare(
            side.find(str(tmp_path / "a"), tmp_path, tmp_path),
            side.find(str(tmp_path / "b.duckdb"), tmp_path, tmp_path),
        )
        assert found.common == 2
        assert kinds(found) == {"vit": Kind.REGRESSED}

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ("cpu~7", "cpu~1 is the oldest"),
            ("cpi", "Did you mean `cpu`"),
            ("run", "2 that begin with 'run'"),
        ],
    )
    def test_a_side_that_is_none_is_named(self, tmp_path: Path, asked: str, message: str) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("run1", "cpu", MORNING), cell("bert"))
        session(path, run_info("run2", "cpu", NOON), cell("bert"))
        with pytest.raises(HarnessError, match=message):
            side.find(asked, tmp_path, tmp_path)

    def test_a_damaged_file_is_said_and_ends_with_2(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "broken.duckdb"
        broken.write_bytes(b"no database")
        assert command_line.main(["diff", str(broken), str(broken)]) == 2
        assert "left out" in capsys.readouterr().err

    def test_runs_are_looked_up_once_and_only_their_own_files_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("cpu", "gpu", "npu"):
            session(tmp_path / f"{name}.duckdb", run_info(f"{name}1", name, MORNING), cell("bert"))
            session(tmp_path / f"{name}.duckdb", run_info(f"{name}2", name, NOON), cell("bert"))
        (tmp_path / "broken.duckdb").write_bytes(b"no database")
        read: list[list[str]] = []
        gather = merged.gather

        def counted(paths: Iterable[Path], *rest: Any, **more: Any) -> merged.Gathered:
            given = list(paths)
            read.append([path.stem for path in given])
            return gather(given, *rest, **more)

        monkeypatch.setattr(merged, "gather", counted)
        assert command_line.main(["diff", "cpu~1", "--results", str(tmp_path)]) == 0
        assert read == [["broken", "cpu", "gpu", "npu"], ["cpu"], ["cpu"]]
        told = capsys.readouterr()
        assert "cpu, run cpu1" in told.out
        assert "broken.duckdb" in told.err  # which may hold a later run

    def test_runs_with_injected_faults_are_no_history(self, tmp_path: Path) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("sound", "cpu", MORNING), cell("bert"))
        session(path, run_info("planted", "cpu", NOON, faults="drift=bert"), failed("bert"))
        assert side.find("cpu", tmp_path, tmp_path).label == "cpu, run sound"

    def test_expectations_of_two_revisions(self, tmp_path: Path) -> None:
        def git(*arguments: str) -> None:
            name = ["-c", "user.name=a", "-c", "user.email=a@b"]
            subprocess.run(["git", *name, *arguments], cwd=tmp_path, check=True, text=True)

        row = '[[expect]]\nentry = "bert"\nstage = "run"\nowner = "ours"\nreason = "why"\n'
        file = tmp_path / "backends" / "torch_cpu" / "expectations.toml"
        file.parent.mkdir(parents=True)
        file.write_text(row, encoding="utf-8")
        git("init", "--quiet")
        git("add", ".")
        git("commit", "--quiet", "--message", "one")
        file.write_text(row.replace("bert", "vit"), encoding="utf-8")
        before, after = (side.find(name, tmp_path, tmp_path) for name in ("git:HEAD", "git:"))
        found = compare(before, after)
        assert kinds(found) == {"bert:any": Kind.IMPROVED, "vit:any": Kind.REGRESSED}
        assert found.worse == 0
        with pytest.raises(HarnessError, match="expected a revision"):
            side.find("git:nowhere", tmp_path, tmp_path)

    def test_results_are_not_held_against_expectations(self, tmp_path: Path) -> None:
        path = session(tmp_path / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
        with pytest.raises(HarnessError, match="on both sides"):
            compare(side.find(str(path), tmp_path, tmp_path), side.find("git:", tmp_path, tmp_path))


class TestEnvironments:
    def test_what_differs_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("a", "cpu", MORNING), cell("bert"))
        changed = {
            "versions": {"torch": "2.13.0", "transformers": "5.24.0"},
            "host": "there",
            "arguments": ["-n", "4", "--results=elsewhere"],
        }
        session(path, run_info("b", "cpu", NOON, **changed), cell("bert"))
        found = compare(*(side.find(name, tmp_path, tmp_path) for name in ("cpu~1", "cpu")))
        told = {c.name: (c.before, c.after) for c in found.environments["cpu"]}
        assert told == {
            "transformers": ("5.23.0", "5.24.0"),
            "host": ("here", "there"),
            "arguments": ("2", "4"),
        }


class TestRatios:
    @staticmethod
    def pairs(*values: tuple[float, float]) -> dict[CellKey, tuple[float, float]]:
        return {CellKey("cpu", "default", f"m{i}", "base"): v for i, v in enumerate(values)}

    def test_a_cell_beyond_the_noise_stands_out(self) -> None:
        noisy = [(0.1, 0.1 * factor) for factor in (0.9, 0.95, 1.0, 1.02, 1.05, 1.1, 1.15, 1.2)]
        found = ratios(INFERENCE, "cpu", "default", self.pairs(*noisy, (0.1, 0.5)))
        assert found is not None
        assert [outlier.key.entry for outlier in found.outliers] == ["m8"]
        assert found.median == pytest.approx(1.05)
        assert found.low < found.median < found.high

    def test_cells_that_are_slower_together_do_not_stand_out(self) -> None:
        found = ratios(INFERENCE, "cpu", "default", self.pairs(*[(0.1, 0.3)] * 10))
        assert found is not None
        assert found.median == pytest.approx(3.0)
        assert found.outliers == ()

    def test_a_difference_of_a_millisecond_is_none(self) -> None:
        found = ratios(
            INFERENCE, "cpu", "default", self.pairs(*[(0.001, 0.001)] * 10, (0.001, 0.003))
        )
        assert found is not None
        assert found.outliers == ()

    def test_a_few_cells_say_nothing(self) -> None:
        assert ratios(INFERENCE, "cpu", "default", self.pairs((0.1, 0.3))) is None

    def test_only_cells_that_pass_on_both_sides_count(self, tmp_path: Path) -> None:
        def timed(number: int, seconds: float, *, passes: bool = True) -> CellResult:
            metrics = [Metric("inference", seconds, "s")]
            make = cell if passes else failed
            return make(f"m{number}", metrics=metrics)

        before = [timed(number, 0.1) for number in range(10)]
        after = [timed(number, 0.1, passes=number < 9) for number in range(10)]
        found = sides(tmp_path, before, after)
        measured = {m.quantity.name: m.cells for m in found.measured}
        assert measured["inference"] == 9
        assert "The hosts differ" not in text(found)

    def test_times_of_other_hosts_are_said_to_mean_nothing(self, tmp_path: Path) -> None:
        cells = [cell(f"m{number}") for number in range(10)]
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("a", "cpu", MORNING), *cells)
        session(path, run_info("b", "cpu", NOON, host="there"), *cells)
        found = compare(*(side.find(name, tmp_path, tmp_path) for name in ("cpu~1", "cpu")))
        assert "The hosts differ" in text(found)


class TestSpeed:
    """Cells that were measured on both sides, held against the noise of both runs."""

    @staticmethod
    def timed(relative: float = 5.0, wall: float = 0.01, **more: float) -> CellResult:
        numbers = {"relative_cpu": relative, "relative_cpu_noise": 0.005, "cpu": wall}
        numbers |= {"wall": wall, "wall_noise": 0.005, "median": wall, "taken": 0.0, **more}
        return cell("bert", metrics=[Metric(f"measured_{n}", v, "1") for n, v in numbers.items()])

    def changed(self, folder: Path, before: CellResult, after: CellResult) -> list[str]:
        found = sides(folder, [before], [after])
        return sorted(
            f"{c.quantity.name} {'slower' if c.slower else 'faster' if c.faster else 'same'}"
            for c in found.speeds
        )

    def test_a_tenth_is_seen_and_noise_is_not(self, tmp_path: Path) -> None:
        slow = self.changed(tmp_path / "1", self.timed(), self.timed(5.5, 0.011))
        assert slow == ["CPU time slower", "time slower"]
        fast = self.changed(tmp_path / "2", self.timed(5.5, 0.011), self.timed())
        assert fast == ["CPU time faster", "time faster"]
        near = self.changed(tmp_path / "3", self.timed(), self.timed(5.2, 0.0104))
        assert near == ["CPU time same", "time same"]

    def test_a_noisy_run_widens_the_gate(self, tmp_path: Path) -> None:
        noisy = self.timed(5.5, 0.011, relative_cpu_noise=0.05)
        assert self.changed(tmp_path, self.timed(), noisy) == ["CPU time same", "time slower"]

    def test_wall_times_beside_others_are_not_judged(self, tmp_path: Path) -> None:
        disturbed = self.timed(5.0, 0.02, taken=0.5)
        assert self.changed(tmp_path, self.timed(), disturbed) == ["CPU time same"]

    def test_work_of_others_widens_the_gate(self, tmp_path: Path) -> None:
        one, other = (self.timed(relative, taken=0.9) for relative in (5.0, 5.3))
        assert self.changed(tmp_path / "busy", one, other) == ["CPU time same"]
        alone = self.changed(tmp_path / "alone", self.timed(5.0), self.timed(5.3))
        assert alone == ["CPU time slower", "time same"]

    def test_work_of_others_on_other_cores_widens_the_gate(self, tmp_path: Path) -> None:
        one, other = (self.timed(relative, busy=1.5) for relative in (5.0, 5.6))
        assert self.changed(tmp_path / "busy", one, other) == ["CPU time same"]
        alone = self.changed(tmp_path / "alone", self.timed(5.0), self.timed(5.6))
        assert alone == ["CPU time slower", "time same"]

    def test_infinite_noise_alarms_nobody(self, tmp_path: Path) -> None:
        unknown = self.timed(50.0, 0.1, relative_cpu_noise=1e6, wall_noise=1e6)
        assert self.changed(tmp_path, self.timed(), unknown) == ["CPU time same", "time same"]

    def test_another_machine_or_another_size_is_no_comparison(self, tmp_path: Path) -> None:
        path = tmp_path / "cpu.duckdb"
        session(path, run_info("a", "cpu", MORNING), self.timed())
        session(path, run_info("b", "cpu", NOON, host="there"), self.timed(9.0, 0.1))
        found = compare(*(side.find(name, tmp_path, tmp_path) for name in ("cpu~1", "cpu")))
        assert found.speeds == ()
        wide = replace(self.timed(9.0, 0.1), parameters=10**9)
        assert self.changed(tmp_path / "size", self.timed(), wide) == []

    def test_a_slower_cell_is_said_and_is_an_exit_status(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = sides(tmp_path, [self.timed()], [self.timed(5.5, 0.011)])
        told = "SLOWER cpu bert: time 10 ms to 11 ms, 1.10 x, where noise explains 1.05 x"
        assert told in text(found)
        assert told in markdown(found)
        assert "1 cell measured on both sides: 1 slower, 0 faster" in text(found)
        assert status(str(tmp_path / "a"), str(tmp_path / "b"), "--json") == 1
        assert json.loads(capsys.readouterr().out)["slower"] == 1
        assert status(str(tmp_path / "b"), str(tmp_path / "a")) == 0


class TestForms:
    def test_json_has_all_and_markdown_escapes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hostile = failed("bert", reason="<script>|\x1b[31m`::error::x", cause="c|`")
        found = sides(tmp_path, [cell("bert")], [hostile])
        for form in (text(found), markdown(found)):
            assert "\x1b" not in form
        assert "<script>" not in markdown(found)
        a, b = (str(tmp_path / name) for name in "ab")
        assert status(a, b, "--json") == 1
        read = json.loads(capsys.readouterr().out)
        assert read["worse"] == 1
        assert read["groups"][0]["kind"] == "regressed"

    def test_only_some_kinds_are_shown_and_all_count(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sides(tmp_path, [cell("bert"), failed("vit")], [failed("bert"), cell("vit")])
        a, b = (str(tmp_path / name) for name in "ab")
        assert status(a, b, "--only", "improved") == 1
        told = capsys.readouterr().out
        assert "IMPROVED" in told
        assert "REGRESSED" not in told
        with pytest.raises(HarnessError, match="Did you mean `improved`"):
            status(a, b, "--only", "improve")
