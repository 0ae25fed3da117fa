"""Results on disk: what was stored stays, and what cannot be used says so and stays as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from harness.__main__ import main
from harness.contract import (
    CellFailure,
    CellResult,
    HarnessError,
    Metric,
    Outcome,
    RunInfo,
    Stage,
    Verdict,
)
from harness.results import merged, schema
from harness.results.errors import fix_of
from harness.results.store import Store

ROOT = Path(__file__).resolve().parent.parent
Make = Callable[..., Any]


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "good.duckdb"


@pytest.fixture
def stored(path: Path, make_run: Make, make_result: Make) -> Path:
    """A file with one run of one cell."""
    with Store.open(path) as store:
        store.begin(make_run("before"))
        store.add("before", make_result("bert"))
        store.finish("before")
    return path


def test_everything_that_was_stored_is_read_back(
    path: Path, make_run: Callable[..., RunInfo], make_result: Callable[..., CellResult]
) -> None:
    result = make_result(
        "qwen3",
        stage=Stage.PREPARE,
        outcome=Outcome.FAIL,
        verdict=Verdict.XFAIL,
        reason='it\'s "so"',
        cause="RuntimeError: <n>",
        error="Traceback\n  ünï",
        parameters=123,
        peak_rss_mb=np.float64(440.5),
        device_share=1.0,
        noise_floor=1e-7,
        score=float("inf"),
        metrics=[Metric("cpu", 1.5, "s"), Metric("inference", np.float64(0.25), "s")],
    )
    with Store.open(path) as store:
        store.begin(make_run(started_at="2026-01-02T05:04:05+02:00", seed=7))
        store.add("r1", result)
        store.add("r1", make_result("qwen3", precision="f16"))
        store.add("r1", make_result("qwen3", head="lm"))
        store.finish("r1")
    run = rows(path, "SELECT backend, started_at, versions, arguments, seed, emulated FROM runs")[0]
    assert run[0] == "good"
    assert run[1].isoformat() == "2026-01-02T03:04:05"  # UTC
    assert run[2:] == ('{"fake": "1.0"}', '["--models", "bert"]', 7, True)
    assert rows(path, "SELECT finished_at > started_at FROM runs") == [(True,)]
    cell = rows(
        path,
        "SELECT stage, outcome, verdict, reason, cause, error, parameters, seconds, peak_rss_mb, "
        "device_share, noise_floor, score FROM cells WHERE stage = 'prepare'",
    )
    assert cell[0][:7] == (
        *("prepare", "fail", "xfail", 'it\'s "so"', "RuntimeError: <n>", "Traceback\n  ünï", 123),
    )
    assert cell[0][7:] == (0.5, 440.5, 1.0, 1e-7, float("inf"))
    assert rows(path, "SELECT count(*) FROM cells") == [(3,)]
    metrics = rows(path, "SELECT run_id, entry, head, precision, name, value, unit FROM metrics")
    assert metrics == [
        ("r1", "qwen3", "base", "default", "cpu", 1.5, "s"),
        ("r1", "qwen3", "base", "default", "inference", 0.25, "s"),
    ]


class TestLastGreen:
    """The last outcomes, which `regressed` is judged against."""

    def test_of_each_cell_by_the_sequence_of_runs(
        self, path: Path, make_run: Make, make_result: Make
    ) -> None:
        with Store.open(path) as store:
            assert store.last_green("good") == {}
            # The clock of the first run was a year ahead.
            known = make_result("bert", outcome=Outcome.FAIL, verdict=Verdict.XFAIL)
            for year, result in ((2027, known), (2026, make_result("bert"))):
                store.begin(make_run(f"r{year}", started_at=f"{year}-01-01T00:00:00+00:00"))
                store.add(f"r{year}", result)
            store.add("r2026", make_result("gpt2"))
            store.add("r2026", make_result("gpt2", precision="f16", outcome=Outcome.OOM))
            store.begin(make_run("other", backend="another"))
            store.add("other", make_result("gpt2", outcome=Outcome.FAIL, verdict=Verdict.XFAIL))
            assert store.last_green("good") == {
                ("bert", "base", "default"): Outcome.PASS,
                ("gpt2", "base", "default"): Outcome.PASS,
            }

    @pytest.mark.parametrize(
        ("later", "last"),
        [
            ([(Outcome.FAIL, Verdict.REGRESSED)], Outcome.PASS),
            ([(Outcome.FAIL, Verdict.REGRESSED), (Outcome.CRASH, Verdict.REGRESSED)], Outcome.PASS),
            ([(Outcome.FAIL, Verdict.CHANGED)], Outcome.PASS),
            ([(Outcome.FAIL, Verdict.XFAIL)], Outcome.FAIL),
            ([(Outcome.FAIL, Verdict.XFAIL), (Outcome.PASS, Verdict.IMPROVED)], Outcome.PASS),
            ([(Outcome.ABSENT, Verdict.XFAIL)], Outcome.PASS),
        ],
    )
    def test_lasts_until_a_cell_passes_or_is_expected(
        self,
        path: Path,
        make_run: Make,
        make_result: Make,
        later: list[tuple[Outcome, Verdict]],
        last: Outcome,
    ) -> None:
        with Store.open(path) as store:
            for number, (outcome, verdict) in enumerate([(Outcome.PASS, Verdict.OK), *later]):
                store.begin(make_run(f"r{number}"))
                store.add(f"r{number}", make_result("bert", outcome=outcome, verdict=verdict))
            assert store.last_green("good")["bert", "base", "default"] is last

    def test_a_forged_sequence_costs_no_later_run(
        self, stored: Path, make_run: Make, make_result: Make
    ) -> None:
        change(stored, "UPDATE runs SET sequence = 9223372036854775807")
        with Store.open(stored) as store:
            for name in ("next", "last"):
                store.begin(make_run(name))
                store.add(name, make_result("bert"))
        assert rows(stored, "SELECT run_id FROM runs ORDER BY sequence") == [
            ("next",), ("last",), ("before",)
        ]  # fmt: skip

    def test_injected_faults_are_no_history(
        self, stored: Path, make_run: Make, make_result: Make
    ) -> None:
        with Store.open(stored) as store:
            store.begin(make_run("fault", faults="crash=bert"))
            store.add("fault", make_result("gpt2"))
            store.add("fault", make_result("bert", outcome=Outcome.FAIL, verdict=Verdict.XFAIL))
            assert store.last_green("good") == {("bert", "base", "default"): Outcome.PASS}


KILLED = """
import sys, time
from pathlib import Path
from harness.__main__ import main
from harness.contract import CellResult, Metric, Outcome, RunInfo, Stage
from harness.results.store import Store
store = Store.open(Path(sys.argv[1]))
store.begin(RunInfo("r1", "good", "2026-01-02T00:00:00+00:00", "d", False, {}, "", "", "", [], 0))
for number in range(int(sys.argv[2])):
    store.add("r1", CellResult(f"entry{number}", "f", "a", "base", "default", Stage.RUN,
                               Outcome.PASS, error=sys.argv[3] * 4000,
                               metrics=[Metric("cpu", 1.0, "s")]))
print("stored", flush=True)
time.sleep(60)
"""


def writer(path: Path, cells: int, filler: str = "") -> subprocess.Popen[str]:
    """Another process that has stored some cells and still holds the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(cells), filler],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "stored\n"
    return process


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = writer(path, 3)
    yield process
    process.kill()
    process.communicate()


def test_a_killed_run_keeps_what_it_did(
    path: Path, holder: subprocess.Popen[str], make_run: Make, make_result: Make
) -> None:
    holder.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    holder.wait()
    with Store.open(path) as store:
        assert len(store.last_green("good")) == 3
        store.begin(make_run("next", started_at="2026-01-03T00:00:00+00:00"))
        store.add("next", make_result("bert"))
    assert rows(path, "SELECT count(*) FROM cells") == [(4,)]
    assert rows(path, "SELECT run_id FROM runs WHERE finished_at IS NULL ORDER BY 1") == [
        ("next",), ("r1",)
    ]  # fmt: skip


def test_a_file_in_use_names_who_uses_it(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(HarnessError) as caught:
        Store.open(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"ps -p {holder.pid}" in message
    assert "--results DIR" in message


def with_text(path: Path) -> None:
    path.write_text("these are no results\n" * 1000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_to(size: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:size])

    return damage


def scrambled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192:16384] = bytes(8192)
    path.write_bytes(data)


def with_a_view(path: Path) -> None:
    change(path, "DROP TABLE metrics", "CREATE VIEW metrics AS SELECT 1")


def with_a_trigger(path: Path) -> None:
    change(
        path,
        "CREATE TABLE stolen (name VARCHAR)",
        "CREATE TRIGGER thief AFTER INSERT ON cells FOR EACH STATEMENT "
        "INSERT INTO stolen VALUES ('x')",
    )


class TestDamage:
    """A damaged file is set aside whole before a run writes to it."""

    @pytest.mark.parametrize(
        "damage",
        [
            with_text,
            emptied,
            scrambled,
            with_a_view,
            with_a_trigger,
            pytest.param(cut_to(100), id="cut in the first header"),
            pytest.param(cut_to(5000), id="cut in the headers"),
            pytest.param(cut_to(50_000), id="cut in the data"),
        ],
    )
    def test_is_set_aside_and_the_run_goes_to_a_new_file(
        self, stored: Path, make_run: Make, make_result: Make, damage: Callable[[Path], None]
    ) -> None:
        damage(stored)
        before = stored.read_bytes()
        with Store.open(stored) as store:
            store.begin(make_run("after"))
            store.add("after", make_result("bert"))
            note = store.note
        aside = stored.parent / "good.duckdb.aside-1" / "good.duckdb"
        assert aside.read_bytes() == before
        assert f"set aside whole as {aside}" in note
        assert rows(stored, "SELECT run_id FROM cells") == [("after",)]

    def test_takes_the_log_with_it(self, path: Path) -> None:
        process = writer(path, 3)
        process.kill()
        process.communicate()
        log = path.with_name("good.duckdb.wal")
        before, committed = path.read_bytes(), log.read_bytes()
        path.write_bytes(bytes(4096) + before[4096:])
        with Store.open(path) as store:
            assert store.last_green("good") == {}
        folder = path.parent / "good.duckdb.aside-1"
        assert (folder / log.name).read_bytes() == committed
        (folder / path.name).write_bytes(before)
        assert rows(folder / path.name, "SELECT count(*) FROM cells") == [(3,)]

    def test_overwrites_nothing_that_was_set_aside_before(self, stored: Path) -> None:
        for _ in range(2):
            with_text(stored)
            Store.open(stored).close()
        assert sorted(folder.name for folder in stored.parent.glob("*.aside-*")) == [
            "good.duckdb.aside-1", "good.duckdb.aside-2"
        ]  # fmt: skip

    def test_a_log_alone_is_set_aside(self, path: Path) -> None:
        process = writer(path, 3)
        process.kill()
        process.communicate()
        log = path.with_name("good.duckdb.wal")
        committed = log.read_bytes()
        path.unlink()
        with Store.open(path) as store:
            assert "found the log alone" in store.note
        assert (path.parent / "good.duckdb.aside-1" / log.name).read_bytes() == committed

    @pytest.mark.parametrize("cut", [1, 40, 700])
    def test_a_torn_log_is_said_and_copied(self, path: Path, cut: int) -> None:
        process = writer(path, 3, filler="x")
        process.kill()
        process.communicate()
        log = path.with_name("good.duckdb.wal")
        log.write_bytes(log.read_bytes()[:-cut])
        before = log.read_bytes()
        with Store.open(path) as store:
            assert "bytes are cut short" in store.note
            assert len(store.last_green("good")) == 2
        assert (path.parent / "good.duckdb.aside-1" / log.name).read_bytes() == before

    def test_a_whole_log_is_no_torn_one(self, path: Path) -> None:
        process = writer(path, 3, filler="x")
        process.kill()
        process.communicate()
        with Store.open(path) as store:
            assert store.note == ""
            assert len(store.last_green("good")) == 3

    def test_the_command_moves_a_file_with_its_log(
        self, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = writer(path, 3)
        process.kill()
        process.communicate()
        assert main(["set-aside", str(path)]) == 0
        folder = path.parent / "good.duckdb.aside-1"
        assert f"now {folder / path.name}" in capsys.readouterr().out
        assert rows(folder / path.name, "SELECT count(*) FROM cells") == [(3,)]
        assert main(["set-aside", str(path)]) == 2


def change(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE schema_version SET version = 0"],
        ["DROP TABLE schema_version"],
        ["DROP TABLE schema_version", "DROP TABLE cells", "DROP TABLE metrics"],
    ],
)
def test_an_older_schema_that_nothing_leads_from_is_kept(
    stored: Path, statements: list[str]
) -> None:
    change(stored, *statements)
    with pytest.raises(HarnessError) as caught:
        Store.open(stored)
    message = str(caught.value)
    assert f"expected schema {schema.SCHEMA_VERSION}, found none" in message
    assert f"python -m harness set-aside {stored}" in message
    assert rows(stored, "SELECT run_id FROM runs") == [("before",)]


#: To the schemas that earlier harnesses wrote, from the present one.
BACK_TO = {
    7: ("DROP TABLE cell_keys", "DROP TABLE code_sets"),
    6: ("ALTER TABLE runs DROP COLUMN size",),
    5: ("DROP TABLE timings",),
    4: ("DROP TABLE culprits",),
    3: ("DROP TABLE further_failures",),
    2: ("ALTER TABLE runs DROP COLUMN sequence", "ALTER TABLE runs DROP COLUMN faults"),
    1: ("ALTER TABLE cells DROP COLUMN fallback",),
}


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_schema_keeps_all_it_holds(
    path: Path, make_run: Make, make_result: Make, version: int
) -> None:
    with Store.open(path) as store:
        ahead = make_run("ahead", started_at="2027-01-02T03:04:05+00:00")
        store.begin(ahead)
        store.add("ahead", make_result("bert", metrics=[Metric("load", 2.0, "s")]))
        store.begin(make_run("fault", arguments=["--fault", "wrong=bert"]))
        store.add("fault", make_result("bert", outcome=Outcome.FAIL))
        store.begin(make_run("other", arguments=["--fault=slow=gpt2"]))
        store.add("other", make_result("gpt2", outcome=Outcome.FAIL, verdict=Verdict.XFAIL))
    tables = {name: f"SELECT * FROM {name} ORDER BY ALL" for name in ("cells", "metrics")}
    runs = "SELECT run_id, backend, started_at, versions, host, seed FROM runs ORDER BY ALL"
    before = [rows(path, query) for query in (*tables.values(), runs)]
    for step in range(7, version - 1, -1):
        change(path, *BACK_TO[step], f"UPDATE schema_version SET version = {step}")
    with Store.open(path) as store:
        assert store.note == ""
        assert store.last_green("good") == {("bert", "base", "default"): Outcome.PASS}
        store.begin(make_run("new"))
    assert rows(path, "SELECT run_id, sequence, faults FROM runs ORDER BY sequence") == [
        ("ahead", 1, ""), ("fault", 2, "wrong=bert"), ("other", 3, "slow=gpt2"), ("new", 4, "")
    ]  # fmt: skip
    change(path, "DELETE FROM runs WHERE run_id = 'new'")
    assert [rows(path, query) for query in (*tables.values(), runs)] == before


def test_a_run_of_another_size_is_no_history_of_tiny_ones(
    path: Path, make_run: Make, make_result: Make
) -> None:
    key = ("bert", "base", "default")
    with Store.open(path) as store:
        store.begin(make_run("small"))
        store.add("small", make_result("bert"))
        store.begin(make_run("wide", size="wide"))
        store.add("wide", make_result("bert", outcome=Outcome.FAIL, verdict=Verdict.XFAIL))
        assert store.last_green("good")[key] is Outcome.PASS
        assert store.last_green("good", size="wide")[key] is Outcome.FAIL
    gathered = merged.gather([path], None)
    latest = "SELECT run_id, outcome FROM latest"
    assert gathered.connection.execute(latest).fetchall() == [("small", "pass")]
    asked = merged.gather([path], None, runs=["wide"])
    assert asked.connection.execute(latest).fetchall() == [("wide", "fail")]


def test_an_older_file_tells_the_size_of_a_run_by_its_arguments(path: Path, make_run: Make) -> None:
    with Store.open(path) as store:
        store.begin(make_run("one", arguments=["--size", "full"]))
        store.begin(make_run("other", arguments=["-k", "bert"]))
    change(path, *BACK_TO[7], *BACK_TO[6], "UPDATE schema_version SET version = 6")
    with Store.open(path):
        pass
    sizes = rows(path, "SELECT run_id, size FROM runs ORDER BY sequence")
    assert sizes == [("one", "full"), ("other", "tiny")]


def test_further_failures_are_kept_and_an_older_file_gets_their_table(
    stored: Path, make_run: Make, make_result: Make
) -> None:
    change(
        stored,
        *BACK_TO[7],
        *BACK_TO[6],
        *BACK_TO[5],
        *BACK_TO[4],
        *BACK_TO[3],
        "UPDATE schema_version SET version = 3",
    )
    more = [
        CellFailure(stage, Outcome.FAIL, f"wrong at {stage}", "a cause", "Traceback")
        for stage in (Stage.GENERATE, Stage.ROUNDTRIP)
    ]
    with Store.open(stored) as store:
        store.begin(make_run("now"))
        store.add("now", make_result(outcome=Outcome.FAIL, stage=Stage.VERIFY, further=more))
    assert rows(
        stored, "SELECT run_id, entry, number, stage, outcome, reason FROM further_failures"
    ) == [
        ("now", "bert", 2, "generate", "fail", "wrong at generate"),
        ("now", "bert", 3, "roundtrip", "fail", "wrong at roundtrip"),
    ]


def test_what_stood_in_for_a_device_has_a_history_of_its_own(
    stored: Path, make_run: Callable[..., RunInfo], make_result: Callable[..., CellResult]
) -> None:
    with Store.open(stored) as store:
        store.begin(make_run("later"))
        known = {"outcome": Outcome.FAIL, "verdict": Verdict.XFAIL}
        store.add("later", make_result(fallback="cpu", **known))
        key = ("bert", "base", "default")
        assert store.last_green("good")[key] is Outcome.PASS
        assert store.last_green("good", "cpu")[key] is Outcome.FAIL


def test_a_step_that_fails_changes_nothing(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", now + 1)
    steps = {now: ("ALTER TABLE cells ADD COLUMN mood VARCHAR", "SELECT nonsense")}
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    with pytest.raises(HarnessError):
        Store.open(stored)
    assert rows(stored, "SELECT version FROM schema_version") == [(now,)]
    with pytest.raises(duckdb.Error):
        rows(stored, "SELECT mood FROM cells")


def test_a_newer_schema_is_refused(stored: Path) -> None:
    change(stored, "UPDATE schema_version SET version = 99")
    with pytest.raises(HarnessError, match=r"found 99: a newer harness wrote it\. Fix: update"):
        Store.open(stored)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(HarnessError, match="--results DIR"):
        Store.open(tmp_path / "results" / "good.duckdb")


def test_a_folder_in_the_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(HarnessError, match="cannot be opened"):
        Store.open(path)


FULL = """
import resource, sys
from pathlib import Path
from harness.__main__ import main
from harness.contract import CellResult, HarnessError, Metric, Outcome, RunInfo, Stage
from harness.results.store import Store
path = Path(sys.argv[1])
with Store.open(path) as store:
    started = "2026-01-03T00:00:00+00:00"
    store.begin(RunInfo("r2", "good", started, "d", False, {}, "", "", "", [], 0))
    # No file may grow beyond this, which a write meets as it would meet a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    for number in range(100_000):
        try:
            store.add("r2", CellResult(f"e{number}", "f", "a", "base", "default", Stage.RUN,
                                       Outcome.PASS, error=str(number) * 2000))
        except HarnessError as error:
            print(number)
            print(error)
            break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_full_disk_loses_nothing_that_was_stored(stored: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(stored)],
        env={n: v for n, v in os.environ.items() if "COVERAGE" not in n},  # it writes files too
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    number, message = done.stdout.split("\n", 1)
    assert int(number) > 3
    assert "could not be written" in message
    assert f"The {number} cells that this run stored before are kept" in message
    assert "df -h" in message
    assert done.stderr == ""
    with Store.open(stored) as store:
        outcomes = store.last_green("good")
    assert len(outcomes) == int(number) + 1
    assert ("bert", "base", "default") in outcomes


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("IO Error: Could not write: No space left on device", "make room"),
        ("IO Error: Cannot open file: Read-only file system", "writable"),
        ("IO Error: Cannot open file: Permission denied", "writable"),
        ("IO Error: Corrupt database file: computed checksum 1 does not match", "sets the damaged"),
        ("Constraint Error: Duplicate key violates primary key constraint", "found one twice"),
        ("IO Error: Could not read: Input/output error", "check the disk"),
        ("Internal Error: something else", "choose another folder"),
    ],
)
def test_an_error_gets_the_advice_that_helps_against_it(text: str, fix: str, path: Path) -> None:
    given = fix_of(duckdb.Error(text), path)
    assert fix in given
    assert ("make room" in given) == ("space" in text)


def test_a_cell_that_is_stored_twice_says_so_and_keeps_the_first(
    stored: Path, make_run: Make, make_result: Make
) -> None:
    with Store.open(stored) as store:
        store.begin(make_run())
        store.add("r1", make_result())
        with pytest.raises(HarnessError, match="found one twice"):
            store.add("r1", make_result(outcome=Outcome.FAIL))
        store.add("r1", make_result("gpt2"))
    assert rows(stored, "SELECT entry, outcome FROM cells WHERE run_id = 'r1' ORDER BY 1") == [
        ("bert", "pass"), ("gpt2", "pass")
    ]  # fmt: skip


def test_lone_surrogates_are_stored_escaped(
    stored: Path, make_run: Make, make_result: Make
) -> None:
    name = "caf\udce9"
    with Store.open(stored) as store:
        store.begin(make_run(host=name))
        store.add("r1", make_result(reason=name, metrics=[Metric(name, 1.0, "s")]))
    assert rows(stored, "SELECT reason FROM cells WHERE run_id = 'r1'") == [("caf\\udce9",)]
    assert rows(stored, "SELECT name FROM metrics") == [("caf\\udce9",)]


def test_a_path_in_advice_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "it is; here" / "good.duckdb"
    assert f"df -h '{path.parent}'" in fix_of(OSError("No space left on device"), path)


def test_storing_a_cell_costs_little(path: Path, make_run: Make, make_result: Make) -> None:
    metrics = [Metric(f"cpu_{number}", 1.0, "s") for number in range(12)]
    with Store.open(path) as store:
        store.begin(make_run())
        store.add("r1", make_result("warm", metrics=metrics))
        began = time.process_time()
        for number in range(50):
            store.add("r1", make_result(f"e{number}", metrics=metrics, error="x" * 2000))
    assert (time.process_time() - began) / 50 < 0.02
    assert os.path.getsize(path) < 5_000_000
