"""Results files from elsewhere: each harms nothing but itself, and is named."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from strangers import (
    COMMANDS,
    FILES,
    HARMLESS,
    MEASURES,
    ROWS_LEFT_OUT,
    SECRET,
    Connection,
    changed,
    outside,
    said_and_written,
    store,
    write,
)

from harness.catalog import model_lists
from harness.commands import advise, coverage
from harness.contract import HarnessError, Metric, Outcome, Stage, Verdict
from harness.report.coverage import BEGIN, END
from harness.results import merged, queries, schema
from harness.results.queries import CellRow
from harness.results.reader import Reader, Reading
from harness.results.store import Store
from harness.toolkit import checkout

ROOT = Path(__file__).resolve().parent.parent


def make_checkout(folder: Path) -> Path:
    """A checkout with two entries and no backends."""
    lists = folder / "checkout" / model_lists.FOLDER
    lists.mkdir(parents=True)
    (lists / "encoder_only.toml").write_text(
        "".join(f'[{name}]\narchitecture = "{name}"\n' for name in ("bert", "albert"))
    )
    (lists.parent / "backends").mkdir()
    return lists.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with good results of one entry, and a checkout of their own."""
    monkeypatch.setattr(checkout, "ROOT", make_checkout(tmp_path))
    store(tmp_path / "results" / "good.duckdb", "good")
    return tmp_path / "results"


def commands(folder: Path, names: Sequence[str] = tuple(COMMANDS)) -> str:
    """Text that commands print and write over a folder."""
    output = folder.parent / "out" / "deep"
    text = said_and_written(folder, output, names)
    assert outside(folder.parent, output) == []
    return text


@dataclass(frozen=True, slots=True)
class Crowd:
    """The strangers' files of every kind in one folder, and what the commands made of them."""

    paths: dict[str, Path]
    text: str
    cells: dict[str, CellRow]  # by backend, one a file

    def left_out(self, kind: str) -> str:
        """The line that names a kind's file, as it was printed."""
        found = [line for line in self.text.splitlines() if str(self.paths[kind]) in line]
        return next((line for line in found if line.startswith("left out: ")), "")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkout, "ROOT", make_checkout(folder))
        patch.setenv("HARNESS_TEST_SECRET", SECRET)
        results = folder / "results"
        store(results / "good.duckdb", "good")
        poisons = {kind: poison for kind, (poison, _) in {**FILES, **ROWS_LEFT_OUT}.items()}
        paths = {}
        for number, (kind, poison) in enumerate({**poisons, **HARMLESS}.items()):
            path = results / f"file-{number}.duckdb"
            paths[kind] = write(path, poison, run_id=f"r{number}", backend=path.stem)
        text = commands(results, ["report"])
        with merged.gather(merged.find(results), None).connection as connection:
            cells = {cell.backend: cell for cell in queries.cells(connection)}
        yield Crowd(paths, text, cells)


def test_nothing_leaks_and_the_others_are_reported(crowd: Crowd) -> None:
    assert SECRET not in crowd.text
    assert "\x1b" not in crowd.text
    assert "albert" in crowd.text
    assert crowd.cells["good"].outcome == "pass"
    assert set(crowd.cells) == {
        "good", *(crowd.paths[kind].stem for kind in (*ROWS_LEFT_OUT, *HARMLESS))
    }  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_plain_table_is_left_out(crowd: Crowd, kind: str) -> None:
    line = crowd.left_out(kind)
    assert f"expected results of schema {schema.SCHEMA_VERSION}, found" in line
    assert FILES[kind][1] in line
    assert f"Fix: python -m harness set-aside {crowd.paths[kind]}" in line


@pytest.mark.parametrize("kind", ROWS_LEFT_OUT)
def test_a_row_that_does_not_hold_costs_itself_alone(crowd: Crowd, kind: str) -> None:
    line = crowd.left_out(kind)
    assert "left out: expected " in line
    assert ROWS_LEFT_OUT[kind][1] in line
    assert "Fix: " in line
    last = crowd.cells[crowd.paths[kind].stem]
    assert last.run_id.startswith("before-") == (kind not in MEASURES)


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_strange_row_is_reported(crowd: Crowd, kind: str) -> None:
    assert crowd.left_out(kind) == ""
    last = crowd.cells[crowd.paths[kind].stem]
    assert (last.outcome, last.run_id.startswith("before-")) == ("crash", False)
    assert len(last.reason) < 5_000


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs, devices or links there")
def test_what_is_no_file_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "fifo.duckdb")
    (folder / "zero.duckdb").symlink_to("/dev/zero")
    (folder / "nothing.duckdb").symlink_to("nowhere")
    (folder / "folder.duckdb").mkdir()
    text = commands(folder)
    for name, found in {
        "fifo": "a FIFO", "zero": "a device", "nothing": "none", "folder": "a folder"
    }.items():  # fmt: skip
        assert f"left out: {folder / name}.duckdb: expected a file, found {found}" in text


def test_a_huge_file_of_nothing_is_refused_at_once(folder: Path) -> None:
    with (folder / "huge.duckdb").open("wb") as file:
        file.truncate(10**12)
    assert "huge.duckdb: truncated, damaged or no DuckDB file" in commands(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on CPU time there")
def test_a_file_that_takes_too_long_ends_its_reader() -> None:
    """A small file may hold very many rows: compression sees to that."""
    endless = (
        "from pathlib import Path; from harness.results import screening\n"
        "screening._limit(Path('x'), 0)\n"
        "while True: pass"
    )
    done = subprocess.run([sys.executable, "-c", endless], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGXCPU


def test_a_file_name_in_advice_is_quoted(folder: Path) -> None:
    path = folder / "a; touch b.duckdb"
    path.write_bytes(b"")
    (left,) = merged.gather([path], None).left_out
    assert left.fix == f"python -m harness set-aside '{path}', and run its session again"


class TestCoverage:
    """`coverage --write` never drops a column in silence."""

    BEFORE = f"{BEGIN}\nas it was\n{END}\n"

    def command(self, folder: Path, file: Path) -> int:
        parser = argparse.ArgumentParser()
        coverage.add_arguments(parser)
        words = ["--results", str(folder), "--write", str(file), "--root", str(checkout.ROOT)]
        return coverage.main(parser.parse_args(words))

    @pytest.mark.parametrize("kind", ["a damaged file", "a row"])
    def test_refuses_what_it_cannot_read(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
    ) -> None:
        file = tmp_path / "README.md"
        file.write_text(self.BEFORE)
        bad = folder / "openvino.duckdb"
        if kind == "a row":
            write(bad, changed("cells", seconds="'nan'"))
        else:
            bad.write_bytes(b"no results")
        with pytest.raises(HarnessError, match="it is as it was"):
            self.command(folder, file)
        assert file.read_text() == self.BEFORE
        assert f"left out: {bad}" in capsys.readouterr().err
        bad.unlink()
        assert self.command(folder, file) == 0
        assert "albert" not in file.read_text()  # short tables: families
        assert file.read_text() != self.BEFORE


AHEAD = "2027-11-01T00:00:00+00:00"
NOW = datetime(2026, 11, 29)


class TestClock:
    """A run from a clock that is ahead outranks none that followed it, and is named."""

    def last(self, *paths: Path) -> tuple[str, tuple[str, ...]]:
        gathered = merged.gather(paths, None, NOW)
        with gathered.connection as connection:
            (cell,) = queries.cells(connection)
            return cell.run_id, tuple(str(doubt) for doubt in gathered.doubts)

    def test_within_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "good.duckdb"
        store(path, "ahead", AHEAD)
        store(path, "after", "2026-11-20T00:00:00+00:00")
        assert self.last(path) == ("after", ())

    def test_of_another_file(self, tmp_path: Path) -> None:
        store(tmp_path / "a.duckdb", "ahead", AHEAD)
        store(tmp_path / "b.duckdb", "after", "2026-11-20T00:00:00+00:00")
        run, (doubt,) = self.last(tmp_path / "a.duckdb", tmp_path / "b.duckdb")
        assert run == "after"
        assert "run ahead began at 2027-11-01 00:00, after now (2026-11-29 00:00)" in doubt
        assert "Fix: set the clock" in doubt

    def test_that_is_the_only_one_still_counts(self, tmp_path: Path) -> None:
        store(tmp_path / "a.duckdb", "ahead", AHEAD)
        run, doubts = self.last(tmp_path / "a.duckdb")
        assert (run, len(doubts)) == ("ahead", 1)

    def test_ahead_of_a_later_run_only(self, tmp_path: Path) -> None:
        """By the time of reading the claimed time is past, but a later run tells."""
        store(tmp_path / "a.duckdb", "ahead", "2026-11-25T00:00:00+00:00", entry="bert")
        store(tmp_path / "a.duckdb", "other", "2026-11-10T00:00:00+00:00")
        store(tmp_path / "b.duckdb", "after", "2026-11-20T00:00:00+00:00", entry="bert")
        gathered = merged.gather([tmp_path / "a.duckdb", tmp_path / "b.duckdb"], None, NOW)
        with gathered.connection as connection:
            assert {cell.entry: cell.run_id for cell in queries.cells(connection)} == {
                "albert": "other", "bert": "after"
            }  # fmt: skip

    def test_that_was_never_set_ranks_by_its_place_in_the_file(self, tmp_path: Path) -> None:
        store(tmp_path / "a.duckdb", "before", "2026-11-20T00:00:00+00:00")
        store(tmp_path / "a.duckdb", "unset", "1970-01-01T00:10:00+00:00")
        store(tmp_path / "b.duckdb", "elsewhere", "2026-11-10T00:00:00+00:00")
        run, (doubt,) = self.last(tmp_path / "a.duckdb", tmp_path / "b.duckdb")
        assert run == "unset"
        assert "before 2020" in doubt

    def test_is_named_in_the_report_and_in_the_terminal(self, folder: Path) -> None:
        ahead = (datetime.now(UTC) + timedelta(days=400)).isoformat()
        store(folder / "ahead.duckdb", "ahead", ahead, entry="bert")
        text = commands(folder)
        assert f"doubted: {folder / 'ahead.duckdb'}: run ahead began at" in text
        assert "1 run of a clock that was wrong." in text  # HTML
        assert "**A clock was wrong:**" in text  # Markdown

    def test_of_very_many_runs_some_are_named(self, tmp_path: Path) -> None:
        def many(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO runs SELECT * EXCLUDE i REPLACE ('a' || i AS run_id, "
                "TIMESTAMP '2027-01-01' AS started_at, 10 + i AS sequence) "
                "FROM runs, range(100) t(i) WHERE run_id = 'r1'"
            )
            connection.execute(
                "INSERT INTO cells SELECT * EXCLUDE i "
                "REPLACE ('a' || i AS run_id, 'e' || i AS entry) "
                "FROM cells, range(100) t(i) WHERE run_id = 'r1'"
            )

        gathered = merged.gather([write(tmp_path / "a.duckdb", many)], None, NOW)
        assert len(gathered.doubts) == 5
        assert "run a95 (and 95 earlier ones)" in str(gathered.doubts[0])


def test_bad_runs_are_named_by_kind(tmp_path: Path) -> None:
    def many(connection: Connection) -> None:
        connection.execute(
            "INSERT INTO runs SELECT * EXCLUDE i REPLACE ('a' || i AS run_id, '../' AS backend) "
            "FROM runs, range(100) t(i) WHERE run_id = 'r1'"
        )

    (left,) = merged.gather([write(tmp_path / "a.duckdb", many)], None).left_out
    assert "100 of 102 rows of runs left out: expected backend" in left.found


def test_more_runs_than_anybody_makes_are_refused(tmp_path: Path) -> None:
    def many(connection: Connection) -> None:
        connection.execute(
            "INSERT INTO runs SELECT * EXCLUDE i REPLACE ('a' || i AS run_id) "
            "FROM runs, range(20001) t(i)"
        )

    (left,) = merged.gather([write(tmp_path / "a.duckdb", many)], None).left_out
    assert "found more than 20000 runs" in left.found


def test_injected_faults_count_nowhere(folder: Path) -> None:
    store(folder / "good.duckdb", "fault", outcome=Outcome.FAIL, faults="wrong=albert",
          verdict=Verdict.REGRESSED, stage=Stage.VERIFY, reason="injected")  # fmt: skip
    store(folder / "good.duckdb", "other", entry="bert", faults="slow=bert")
    text = commands(folder)
    assert "injected faults" in text
    assert "bert: no results of it" in text  # advise
    with merged.gather(merged.find(folder), None).connection as connection:
        (cell,) = queries.cells(connection)
    assert (cell.run_id, cell.outcome) == ("good", "pass")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_an_older_schema_is_read(tmp_path: Path, version: int) -> None:
    def older(connection: Connection) -> None:
        connection.execute("DROP TABLE further_failures")
        if version <= 2:
            connection.execute("ALTER TABLE runs DROP COLUMN sequence")
            connection.execute("ALTER TABLE runs DROP COLUMN faults")
        if version == 1:
            connection.execute("ALTER TABLE cells DROP COLUMN fallback")
        connection.execute("UPDATE schema_version SET version = ?", [version])

    path = write(tmp_path / "old.duckdb", older)
    before = path.read_bytes()
    gathered = merged.gather([path], None)
    with gathered.connection as connection:
        assert [cell.run_id for cell in queries.cells(connection)] == ["r1"]
    assert gathered.left_out == ()
    assert path.read_bytes() == before


def test_the_log_of_a_killed_session_is_read_and_left(tmp_path: Path) -> None:
    path = write(tmp_path / "a.duckdb")
    killed = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
        "c.execute(\"UPDATE cells SET reason = 'from the log'\"); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    log = tmp_path / "a.duckdb.wal"
    before = log.read_bytes()
    with merged.gather([path], None).connection as connection:
        assert queries.cells(connection)[0].reason == "from the log"
    assert log.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize(
    ("name", "kind"),
    [("SIGXCPU", "damaged"), ("SIGSEGV", "damaged"), ("SIGTERM", "interrupted")],
)
def test_a_reader_goes_on_after_a_file_that_ended_it(tmp_path: Path, name: str, kind: str) -> None:
    good = write(tmp_path / "a.duckdb")
    with Reader() as reader:
        assert reader.read(good, None).kind == ""
        assert reader._process is not None
        reader._process.send_signal(signal.Signals[name])
        reader._process.wait()
        assert reader.read(good, None).kind == kind
        assert reader.read(good, None).kind == ""


def test_a_file_is_not_set_aside_because_its_reader_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.duckdb")
    before = path.read_bytes()
    monkeypatch.setattr(Reader, "read", lambda *args, **words: Reading("interrupted", "ended"))
    with pytest.raises(HarnessError, match=r"could not be checked.*It is as it was\. Fix: run"):
        Store.open(path)
    assert path.read_bytes() == before


def test_metrics_of_a_good_file_are_all_kept(tmp_path: Path) -> None:
    metrics = [Metric(f"m{number}", float(number), "s") for number in range(40)]
    store(tmp_path / "a.duckdb", "r", metrics=metrics)
    with merged.gather([tmp_path / "a.duckdb"], None).connection as connection:
        rows = connection.execute("SELECT name, value FROM metrics ORDER BY value").fetchall()
    assert rows == [(metric.name, metric.value) for metric in metrics]


def test_json_of_an_infinite_score_is_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "openvino.duckdb", changed("cells", score="'inf'", noise_floor="'inf'"))
    parser = argparse.ArgumentParser()
    advise.add_arguments(parser)
    words = ["bert", "--json", "--results", str(folder), "--root", str(checkout.ROOT)]
    assert advise.main(parser.parse_args(words)) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    (choice,) = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert choice["score"] is None
