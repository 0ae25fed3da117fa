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

from harness.contract import CellResult, HarnessError, Metric, Outcome, RunInfo, Stage, Verdict
from harness.results import store as stores
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


def test_the_last_outcome_of_each_cell(path: Path, make_run: Make, make_result: Make) -> None:
    with Store.open(path) as store:
        assert store.last_outcomes("good") == {}
        for day, outcome in ((2, Outcome.FAIL), (1, Outcome.PASS)):  # the newer one is stored first
            store.begin(make_run(f"r{day}", started_at=f"2026-01-0{day}T00:00:00+00:00"))
            store.add(f"r{day}", make_result("bert", outcome=outcome))
        store.add("r1", make_result("gpt2"))
        store.add("r1", make_result("gpt2", precision="f16", outcome=Outcome.OOM))
        store.begin(make_run("other", backend="another"))
        store.add("other", make_result("gpt2", outcome=Outcome.CRASH))
        assert store.last_outcomes("good") == {
            ("bert", "base", "default"): Outcome.FAIL,
            ("gpt2", "base", "default"): Outcome.PASS,
            ("gpt2", "base", "f16"): Outcome.OOM,
        }


KILLED = """
import sys, time
from pathlib import Path
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
        assert len(store.last_outcomes("good")) == 3
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


@pytest.mark.parametrize(
    "damage",
    [
        with_text,
        emptied,
        scrambled,
        pytest.param(cut_to(100), id="cut in the first header"),
        pytest.param(cut_to(5000), id="cut in the headers"),
        pytest.param(cut_to(50_000), id="cut in the data"),
    ],
)
def test_a_damaged_file_is_left_as_it_is(stored: Path, damage: Callable[[Path], None]) -> None:
    damage(stored)
    before = stored.read_bytes()
    with pytest.raises(HarnessError) as caught:
        Store.open(stored)
    assert f"mv {stored} {stored}.damaged" in str(caught.value)
    assert "Fix: " in str(caught.value)
    assert stored.read_bytes() == before


def change(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["UPDATE schema_version SET version = 0"], "found none"),
        (["DROP TABLE schema_version"], "found none"),
        (["DROP TABLE schema_version", "DROP TABLE cells", "DROP TABLE metrics"], "found none"),
    ],
)
def test_an_older_schema_that_nothing_leads_from_is_kept(
    stored: Path, statements: list[str], found: str
) -> None:
    change(stored, *statements)
    with pytest.raises(HarnessError) as caught:
        Store.open(stored)
    message = str(caught.value)
    assert f"expected schema {stores.SCHEMA_VERSION}, {found}" in message
    assert f"mv {stored}" in message
    assert rows(stored, "SELECT run_id FROM runs") == [("before",)]


def test_an_older_schema_is_brought_up_to_date(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = stores.SCHEMA_VERSION
    monkeypatch.setattr(stores, "SCHEMA_VERSION", now + 2)
    steps = {
        now: ("ALTER TABLE cells ADD COLUMN mood VARCHAR",),
        now + 1: ("UPDATE cells SET mood = 'new'",),
    }
    monkeypatch.setattr(stores, "MIGRATIONS", steps)
    with Store.open(stored) as store:
        assert store.last_outcomes("good") == {("bert", "base", "default"): Outcome.PASS}
    assert rows(stored, "SELECT mood FROM cells") == [("new",)]
    assert rows(stored, "SELECT version FROM schema_version") == [(now + 2,)]


def test_rows_of_before_the_fallback_are_of_the_device(stored: Path) -> None:
    change(
        stored, "ALTER TABLE cells DROP COLUMN fallback", "UPDATE schema_version SET version = 1"
    )
    with Store.open(stored) as store:
        assert store.last_outcomes("good") == {("bert", "base", "default"): Outcome.PASS}
    assert rows(stored, "SELECT fallback FROM cells") == [("",)]


def test_what_stood_in_for_a_device_has_a_history_of_its_own(
    stored: Path, make_run: Callable[..., RunInfo], make_result: Callable[..., CellResult]
) -> None:
    with Store.open(stored) as store:
        later = make_run("later", started_at="2027-01-02T03:04:05+00:00")
        store.begin(later)
        store.add("later", make_result(outcome=Outcome.FAIL, fallback="cpu"))
        key = ("bert", "base", "default")
        assert store.last_outcomes("good")[key] is Outcome.PASS
        assert store.last_outcomes("good", "cpu")[key] is Outcome.FAIL


def test_a_step_that_fails_changes_nothing(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = stores.SCHEMA_VERSION
    monkeypatch.setattr(stores, "SCHEMA_VERSION", now + 1)
    steps = {now: ("ALTER TABLE cells ADD COLUMN mood VARCHAR", "SELECT nonsense")}
    monkeypatch.setattr(stores, "MIGRATIONS", steps)
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
        outcomes = store.last_outcomes("good")
    assert len(outcomes) == int(number) + 1
    assert ("bert", "base", "default") in outcomes


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
