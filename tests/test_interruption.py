"""Whatever ends a run early, and however often, is stored as an interruption and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import psutil
import pytest
from workplace import FAKES, ROOT, Workplace

from harness.session.interruption import SIGNALS, Interruption
from harness.toolkit.typed_commands import STARTED_BY_NOX

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: A plugin that sends this process signals: one once a cell has passed, the others in the hooks
#: that pytest calls before it knows that the run was interrupted, and while the run is closed.
SIGNALLING = """
import os, signal
def send(number): os.kill(os.getpid(), number)
def pytest_runtest_logreport(report):
    if report.when == "call" and "bert" in report.nodeid:
        send({first})
def pytest_keyboard_interrupt(): send({second})
def pytest_sessionfinish(): send({second})
"""

#: A parent that starts the command behind it, says its process id, and waits.
PARENT = """
import os, subprocess, sys
environment = {**os.environ, sys.argv[1]: str(os.getpid())}
print(subprocess.Popen(sys.argv[2:], env=environment).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    """A folder with the fake backend whose expectations may be rewritten."""
    return Path(shutil.copytree(FAKES / "faulty", tmp_path / "copies" / "faulty")).parent


def finished(workplace: Workplace, session: str) -> list[bool]:
    """Whether each run is stored as one that came to its end."""
    with duckdb.connect(str(workplace.results / f"{session}.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT finished_at FROM runs ORDER BY started_at").fetchall()
    return [at is not None for (at,) in rows]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, with a short name: the fork server's socket lies in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run_signalled(
    workplace: Workplace,
    backends: Path,
    temporary: Path,
    *numbers: int,
    options: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run until `bert` has passed, then send a first signal, and a second one again and again."""
    first, second = map(int, numbers)
    plugin = SIGNALLING.format(first=first, second=second)
    (workplace.folder / "signalling.py").write_text(plugin)
    workplace.write(vision="vit bert hang roberta")
    return workplace.run(
        "faulty", "-n", "1", "-p", "signalling", *options,
        backends=backends, TMPDIR=str(temporary), PYTHONPATH=str(workplace.folder),
    )  # fmt: skip


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_the_run_with_its_summary(
    workplace: Workplace, backends: Path, temporary: Path, number: signal.Signals
) -> None:
    done = run_signalled(workplace, backends, temporary, number, 0)
    assert done.returncode == 128 + number, done.stdout
    assert "faulty: 2 of 2 cells passed" in done.stdout
    assert finished(workplace, "faulty") == [False]
    assert set(workplace.cells("faulty")) == {"vit", "bert"}
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_second_signal_changes_nothing(
    workplace: Workplace, backends: Path, temporary: Path, second: signal.Signals
) -> None:
    before = (backends / "faulty" / "backend.py").read_text()
    numbers, options = (signal.SIGINT, second), ["--update-expectations"]
    done = run_signalled(workplace, backends, temporary, *numbers, options=options)
    assert done.returncode == 128 + signal.SIGINT, done.stdout
    assert "faulty: 2 of 2 cells passed" in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert finished(workplace, "faulty") == [False]
    assert not (backends / "faulty" / "expectations.toml").exists()
    assert (backends / "faulty" / "backend.py").read_text() == before


def test_a_signal_after_the_last_cell_costs_no_result(workplace: Workplace) -> None:
    (workplace.folder / "signalling.py").write_text(
        "import os, pytest, signal\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish():\n    os.kill(os.getpid(), signal.SIGTERM)\n    return (yield)"
    )
    workplace.write(vision="vit bert")
    done = workplace.run("faulty", "-p", "signalling", PYTHONPATH=str(workplace.folder))
    assert done.returncode == 128 + signal.SIGTERM
    assert "faulty: 2 of 2 cells passed" in done.stdout
    assert set(workplace.cells("faulty")) == {"vit", "bert"}


def test_a_run_ends_with_the_nox_that_started_it(workplace: Workplace, temporary: Path) -> None:
    workplace.write(vision="bert hang")
    command: Sequence[str] = workplace.command("faulty", "-n", "1", "-v")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, STARTED_BY_NOX, *command],
        cwd=ROOT, env=workplace.environment(TMPDIR=str(temporary)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    run = psutil.Process(int(parent.stdout.readline()))
    seen = ""
    while "::bert[faulty-default] PASSED" not in seen:  # whose line has no end yet
        character = parent.stdout.read(1)
        assert character, seen
        seen += character
    everything = [run, *run.children(recursive=True)]
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert finished(workplace, "faulty") == [False]
    assert list(temporary.iterdir()) == []


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption()
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        interruption.watch()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (interruption.number, interruption.status) == (signal.SIGTERM, 143)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_are_as_before_in_the_end() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption()
    interruption.watch()
    interruption.restore()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    thread = threading.Thread(target=Interruption().watch)  # where Python allows no handlers
    thread.start()
    thread.join()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    assert not os.environ.get(STARTED_BY_NOX) or interruption.number is None
