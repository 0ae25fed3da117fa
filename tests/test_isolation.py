"""Every way in which a child can end costs its own task alone, and is named."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import isolation_targets
import psutil
import pytest

from harness.contract import HarnessError, Outcome, Stage, Unavailable, Verdict
from harness.workers import cell_result, fork_server, pool, running_child
from harness.workers import settings as worker_settings
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool, run_one
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def task(name: str, argument: Any = None) -> Task:
    return Task(f"tests.isolation_targets:{name}", argument, name)


def settings(seconds: float = 20.0, memory_mb: int = 300, workers: int = 2) -> WorkerSettings:
    return WorkerSettings(workers=workers, limits=Limits(seconds, memory_mb))


def end_of(name: str, argument: Any = None, **limits: Any) -> Ending:
    return run_one(task(name, argument), settings(**limits))


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    """The server and its tracker are there from the first child on."""
    end_of("echo")


@pytest.fixture(autouse=True)
def _no_descriptor_is_leaked(request: pytest.FixtureRequest, _server: None) -> Iterator[None]:
    """Each child has a pipe, a sentinel and a folder; none of them may stay."""
    count: Callable[[], int] = psutil.Process().num_fds
    before = count()
    yield
    assert count() <= before, f"{request.node.name} left descriptors open"


def run_all(tasks: Sequence[Task], **limits: Any) -> list[Ending]:
    with Pool(lambda _, ending: ending, settings(**limits)) as pool:
        return [future.result(timeout=60) for future in pool.start(tasks)]


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ends, or is a zombie that nobody has collected yet."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_returns_what_the_target_returned_and_what_it_used() -> None:
    ending = end_of("echo", {"a": [1, 2.5, None, "x"]})
    assert ending.outcome is None
    assert ending.value == {"a": [1, 2.5, None, "x"]}
    assert ending.cpu_seconds is not None
    assert ending.cpu_seconds >= 0
    assert ending.peak_rss_mb is not None
    assert 5 < ending.peak_rss_mb < 500


def test_results_come_in_the_order_of_the_tasks() -> None:
    endings = run_all([task("echo", number) for number in range(12)])
    assert [ending.value for ending in endings] == list(range(12))


def test_numpy_scalars_cross() -> None:
    assert end_of("as_float", 3).value == 3.0
    value = end_of("as_numpy_text", "x").value
    assert value["a"] == ["x", True, 3]
    assert math.isnan(value["b"][0])
    assert value["b"][1] == math.inf


def test_what_replaces_a_closed_connection_is_not_written_to(tmp_path: Path) -> None:
    ending = end_of("replaces_descriptors", str(tmp_path / "weights"))
    assert "closed its connection to the harness" in ending.reason
    assert (tmp_path / "weights").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "argument", "stage", "reason"),
    [
        (
            "segfault",
            None,
            Stage.RUN,
            "killed by SIGSEGV (segmentation fault), in ctypes:string_at",
        ),
        ("abort", None, Stage.BUILD, "killed by SIGABRT (abort)"),
        ("killed", None, Stage.PREPARE, "killed by SIGKILL from outside"),
        ("leaves", 0, Stage.BUILD, "left with exit code 0 before its result"),
        ("leaves", 7, Stage.BUILD, "left with exit code 7 before its result"),
        ("exits", "bye", Stage.PREPARE, "sys.exit(bye) was called"),
        ("exits", 0, Stage.PREPARE, "sys.exit(0) was called"),
        ("stages", None, Stage.PREPARE, "ValueError: odd"),
        ("function", None, Stage.BUILD, "found builtins.function"),
        ("foreign", None, Stage.BUILD, "found tests.isolation_targets.Foreign"),
        ("raises_unreadable", None, Stage.BUILD, "Odd: its message could not be read"),
        ("raises_surrogates", None, Stage.BUILD, "RuntimeError: caf\\udce9.bin"),
        ("closes_descriptors", None, Stage.RUN, "the process closed its connection to the harness"),
        ("no_such_function", None, Stage.BUILD, "no attribute 'no_such_function'"),
        ("rubbish", b"\x00\x00\x00\x03abc", Stage.RUN, "result unreadable"),
        ("rubbish", b"\x7f\xff\xff\xff", Stage.RUN, "a message of 2147483647 bytes was announced"),
        ("rubbish", b"\x00\x10\x00\x00cut", Stage.RUN, "result unreadable: it ends after"),
        ("frame", b"\x80\x04.", Stage.RUN, "result unreadable: expected JSON"),
        ("frame", b"[" * 100_000, Stage.RUN, "result unreadable: expected JSON"),
        ("frame", b'["Entering", {"stage": "lunch", "failures": []}]', Stage.RUN, "found 'lunch'"),
        ("rubbish_then_sleep", b"\x00\x00\x00\x03abc", Stage.BUILD, "result unreadable"),
    ],
)
def test_a_crash_is_named_with_its_stage(
    name: str, argument: Any, stage: Stage, reason: str
) -> None:
    ending = end_of(name, argument)
    assert (ending.outcome, ending.stage) == (Outcome.CRASH, stage), ending
    assert reason in ending.reason
    assert ending.cause
    assert ending.seconds < 10


def test_what_a_crashed_child_printed_is_kept() -> None:
    ending = end_of("segfault")
    assert "about to fall" in ending.error
    assert "Segmentation fault" in ending.error
    assert "in segfault" in ending.error  # faulthandler's stack
    assert ending.cause == "crash: killed by SIGSEGV (segmentation fault) @ ctypes:string_at"


def test_only_the_end_of_a_long_output_is_kept() -> None:
    ending = end_of("noisy", 5_000)
    assert "line 4999\nfrom C" in ending.error
    assert "line 10\n" not in ending.error
    assert "RuntimeError: enough" in ending.error
    assert len(ending.error) < 2 * running_child.TAIL


def test_a_warning_does_not_reach_our_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert end_of("warns").value == "warned"
    assert "careful" not in "".join(capfd.readouterr())


def test_a_hang_is_a_timeout_with_the_place() -> None:
    ending = end_of("sleeps", 60, seconds=0.5)
    assert (ending.outcome, ending.stage) == (Outcome.TIMEOUT, Stage.RUN)
    assert ending.reason.startswith("still at run after 0.5 s")
    assert "in sleeps" in ending.error
    assert 0.4 < ending.seconds < 5


def test_a_patient_task_may_take_longer() -> None:
    patient = replace(task("sleeps", 60), patience=2.5)
    ending = run_one(patient, settings(seconds=0.2))
    assert ending.outcome is Outcome.TIMEOUT
    assert ending.reason.startswith("still at run after 0.5 s")
    assert run_one(replace(task("sleeps", 0.5), patience=100), settings(seconds=0.2)).value


def test_a_hang_that_holds_the_interpreter_is_a_timeout_too() -> None:
    ending = end_of("hangs_in_c", seconds=0.5)
    assert (ending.outcome, ending.stage) == (Outcome.TIMEOUT, Stage.RUN)
    assert "in hangs_in_c" in ending.error
    assert ending.seconds < 5


def test_a_hang_with_many_threads_is_a_timeout_too() -> None:
    ending = end_of("hangs_with_threads", 60, seconds=1.0, memory_mb=2000)
    assert (ending.outcome, ending.stage) == (Outcome.TIMEOUT, Stage.RUN)
    assert "in sleeps" in ending.error


def test_the_causes_of_timeouts_do_not_depend_on_the_limit() -> None:
    causes = {end_of("sleeps", 60, seconds=seconds).cause for seconds in (0.3, 0.4)}
    assert causes == {"timeout: still at run"}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not hold it there")
def test_a_huge_allocation_is_refused_cleanly() -> None:
    ending = end_of("allocates", 1_000_000_000, memory_mb=300)
    assert (ending.outcome, ending.stage) == (Outcome.OOM, Stage.RUN)
    assert "MemoryError" in ending.reason
    assert ending.seconds < 10
    assert end_of("allocates", 100_000_000, memory_mb=300).value == 100_000_000


def test_torchs_own_out_of_memory_is_one() -> None:
    assert end_of("raises_torchs_oom").outcome is Outcome.OOM


def test_memory_of_what_a_child_started_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WATCH_DESCENDANTS", 0.1)
    ending = end_of("child_holds", 250, memory_mb=200)
    assert (ending.outcome, ending.stage) == (Outcome.OOM, Stage.RUN)
    assert "may hold 200 MB" in ending.reason


def test_peak_memory_is_the_childs_own() -> None:
    """Neither what the parent once held nor what another child held counts."""
    parents = bytearray(b"x") * 200_000_000
    del parents
    small, large = end_of("holds", 1).peak_rss_mb, end_of("holds", 150).peak_rss_mb
    assert small is not None
    assert large is not None
    assert small < 150
    assert 140 < large - small < 170


def test_refusals_come_back_as_they_were() -> None:
    refusal = end_of("refuses").refusal
    assert isinstance(refusal, HarnessError)
    assert str(refusal) == "expected a, found b. Fix: c"
    absence = end_of("unavailable").refusal
    assert isinstance(absence, Unavailable)
    assert (absence.reason, absence.fix) == ("expected a device, found none.", "buy one")


def test_temporary_files_of_a_killed_child_are_removed(tmp_path: Path) -> None:
    folder = Path(end_of("temporary").value)
    assert folder.name.startswith("tmp")
    assert not folder.exists()
    assert end_of("writes_temporary").outcome is Outcome.CRASH
    assert not list(Path(folder).parent.parent.glob("*"))


def test_what_a_child_leaves_running_is_ended(tmp_path: Path) -> None:
    ending = end_of("leaves_child", str(tmp_path / "pid"))
    assert ending.outcome is None
    assert gone(ending.value)


def test_a_killed_childs_own_children_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    ending = end_of("forks_and_hangs", str(path), seconds=1.0)
    assert ending.outcome is Outcome.TIMEOUT
    assert all(gone(int(pid)) for pid in path.read_text().split())


def test_one_bad_neighbour_costs_the_others_nothing() -> None:
    names = ["echo", "segfault", "echo", "sleeps", "echo", "exits", "echo"]
    endings = run_all([task(name, 60) for name in names], seconds=1.0)
    outcomes = [ending.outcome for ending in endings]
    assert outcomes == [
        None, Outcome.CRASH, None, Outcome.TIMEOUT, None, Outcome.CRASH, None
    ]  # fmt: skip


def test_a_killed_fork_server_costs_no_neighbour(tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")
    tasks = [task("kills_server", marker), task("waits_for", marker), task("echo", 1)]
    killer, neighbour, later = run_all(tasks)
    assert (killer.value, neighbour.value, later.value) == ("survived", "came", 1)
    assert "fork server was killed" in killer.before
    assert "fork server was killed" in neighbour.before


def test_who_kills_the_fork_server_again_is_named() -> None:
    killer, neighbour = run_all([task("kills_server", ""), task("echo", 1)])
    assert (killer.outcome, killer.stage) == (Outcome.CRASH, Stage.RUN)
    assert "or its fork server was killed" in killer.reason
    assert neighbour.value == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_from_outside_costs_a_second_try(tmp_path: Path, number: int) -> None:
    ending = end_of("signalled_once", (str(tmp_path / "signalled"), int(number)))
    assert (ending.outcome, ending.value) == (None, "survived")
    assert ending.before.startswith("crash at run: ")


def test_a_disk_that_neighbours_fill_costs_a_second_try(tmp_path: Path) -> None:
    assert end_of("full_once", str(tmp_path / "full")).value == "survived"


def test_a_cleaner_of_temporary_files_costs_no_cell() -> None:
    endings = run_all([task("cleaned"), *(task("echo", number) for number in range(3))], workers=1)
    assert [ending.outcome for ending in endings] == [None] * 4, endings
    assert end_of("echo", 5).value == 5
    endings = run_all([task("cleaned"), task("temporary")], workers=1)
    assert [ending.outcome for ending in endings] == [None] * 2, endings


def test_no_room_for_temporary_files_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without inodes: every future ends, whichever task was about to start."""
    made = Path.mkdir

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "3":
            raise OSError(28, "No space left on device", str(path))
        made(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with Pool(lambda _, ending: ending, settings(workers=1)) as pool:
        futures = pool.start([task("echo", number) for number in range(5)])
        assert [futures[n].result(60).value for n in range(2)] == [0, 1]
        for future in futures[2:]:
            with pytest.raises(CancelledError):
                future.result(60)
    assert isinstance(pool.error, HarnessError)
    assert "expected room for temporary files" in str(pool.error)
    assert "df -i" in str(pool.error)


DAEMONS = """
import os, signal, sys
from harness.workers import fork_server
from harness.workers.pool import run_one
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task
path, bare, method, ends = sys.argv[1:]
task = Task("tests.isolation_targets:leaves_daemon", (path, bool(bare)), "it")
print(run_one(task, WorkerSettings(workers=1, start_method=method)).value, flush=True)
if ends == "closed":
    fork_server.end_session()
elif ends == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers")
@pytest.mark.parametrize("bare", ["", "bare"])
@pytest.mark.parametrize("ends", ["closed", "left", "killed"])
def test_a_daemon_ends_with_the_session(tmp_path: Path, ends: str, bare: str) -> None:
    path = tmp_path / "pid"
    done = subprocess.run(
        [sys.executable, "-c", DAEMONS, str(path), bare, "forkserver", ends],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("left\n", "")
    assert gone(int(path.read_text()))


def test_a_spawned_childs_daemon_ends_with_the_session(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    subprocess.run(
        [sys.executable, "-c", DAEMONS, str(path), "", "spawn", "closed"],
        cwd=ROOT, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert gone(int(path.read_text()))


def test_threads_are_shared_out_and_the_network_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_settings, "cores", lambda: 6)
    monkeypatch.setenv("MKL_NUM_THREADS", "9")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    chosen = WorkerSettings(workers=4).environment()
    assert chosen["OMP_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in chosen  # the user's own stays
    assert chosen["OMP_WAIT_POLICY"] == "passive"
    shared = WorkerSettings(workers=2).environment()
    assert shared["OMP_NUM_THREADS"] == "3"
    assert "OMP_WAIT_POLICY" not in shared
    assert WorkerSettings(workers=8).environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert WorkerSettings(workers=2).threads == 5
    assert WorkerSettings(workers=2).environment()["OPENBLAS_NUM_THREADS"] == "5"
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert WorkerSettings(workers=2).threads == 3
    child = end_of("environment", ["HF_HUB_OFFLINE", "HARNESS_PRELOAD"]).value
    assert child["HF_HUB_OFFLINE"] == "1"
    assert "HARNESS_PRELOAD" not in os.environ


def test_spawned_children_do_the_same() -> None:
    spawning = WorkerSettings(workers=2, limits=Limits(30, 300), start_method="spawn")
    with Pool(lambda _, ending: ending, spawning) as pool:
        good, bad = (
            future.result(60) for future in pool.start([task("echo", 1), task("segfault")])
        )
    assert good.value == 1
    assert (bad.outcome, bad.stage) == (Outcome.CRASH, Stage.RUN)


def test_closing_stops_everything() -> None:
    pool = Pool(lambda _, ending: ending, settings())
    futures = pool.start([task("sleeps", 60) for _ in range(5)])
    until = time.monotonic() + 20
    while len(running := pool.running()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert [standing.label for standing in running] == ["sleeps", "sleeps"]
    began = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - began < 5
    assert all(future.cancelled() for future in futures)
    assert pool.running() == []


def test_an_error_in_finish_stops_the_pool() -> None:
    def finish(task: Task, ending: Ending) -> Ending:
        raise HarnessError("disk full")

    with Pool(finish, settings(workers=1)) as pool:
        futures = pool.start([task("echo", number) for number in range(20)])
        with pytest.raises(HarnessError, match="disk full"):
            futures[0].result(timeout=120)
        until = time.monotonic() + 10
        while not futures[-1].done() and time.monotonic() < until:
            time.sleep(0.01)
        assert futures[-1].cancelled()
        assert isinstance(pool.error, HarnessError)


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_an_interrupt_reaches_no_child(start_method: str) -> None:
    """Ctrl-C goes to the whole group of the terminal, in which a child is born."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, start_method],
        cwd=ROOT, capture_output=True, text=True, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[None, None, None]\n", "")


INTERRUPTED = """
import os, signal, sys, threading, time
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.task import Task
from harness.workers.settings import WorkerSettings
signal.signal(signal.SIGINT, lambda *_: None)
def interrupt():
    while True:
        os.killpg(0, signal.SIGINT)
        time.sleep(0.001)
settings = WorkerSettings(workers=1, limits=Limits(60.0, 300), start_method=sys.argv[1])
with Pool(lambda task, ending: ending, settings) as pool:
    threading.Thread(target=interrupt, daemon=True).start()
    tasks = [Task("tests.isolation_targets:sleeps", 0.1, "it") for _ in range(3)]
    print([future.result().outcome for future in pool.start(tasks)], flush=True)
"""

ORPHANS = """
import sys, time
from pathlib import Path
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.task import Task
from harness.workers.settings import WorkerSettings
with Pool(lambda t, e: e, WorkerSettings(workers=1, limits=Limits(60.0, 300))) as pool:
    pool.start([Task("tests.isolation_targets:" + sys.argv[1], sys.argv[2], "it")])
    time.sleep(60)
"""


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, "forks_and_hangs", str(path)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    until = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    others = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert all(gone(int(pid)) for pid in path.read_text().split())
    assert all(gone(process.pid) for process in others)


job = isolation_targets.isolated_job


def test_a_cells_own_result_is_completed() -> None:
    ending = run_one(Task("tests.isolation_targets:cell", job(), "bert"), settings())
    result = cell_result.result_of(job(), ending)
    assert (result.outcome, result.stage, result.reason) == (Outcome.FAIL, Stage.VERIFY, "wrong")
    assert result.seconds > 0
    assert result.peak_rss_mb is not None
    assert [metric.name for metric in result.metrics] == ["cpu"]


@pytest.mark.parametrize(
    ("target", "argument", "reason"),
    [
        ("segfault", None, "killed by SIGSEGV"),
        ("echo", "text", "expected the result of encoder-only bert:fill-mask in f16, found str"),
        ("odd_cell", {"entry": "gpt2"}, "found encoder-only gpt2:fill-mask in f16"),
        ("odd_cell", {"head": "base"}, "found encoder-only bert in f16"),
        ("odd_cell", {"family": "vision"}, "found vision bert:fill-mask in f16"),
        ("odd_cell", {"precision": "f32"}, "found encoder-only bert:fill-mask in f32"),
        ("odd_cell", {"outcome": "great"}, "CellResult.outcome: expected one of pass, fail, cr"),
        ("odd_cell", {"reason": None}, "CellResult.reason: expected text, found null"),
        ("odd_cell", {"parameters": 2**63}, "CellResult.parameters: expected an integer of 64 b"),
        ("odd_cell", {"metrics": None}, "CellResult.metrics: expected a list, found null"),
    ],
)
def test_a_cell_without_a_result_gets_one(target: str, argument: Any, reason: str) -> None:
    result = cell_result.result_of(job(), end_of(target, argument))
    assert (result.entry, result.head, result.precision) == ("bert", "fill-mask", "f16")
    assert (result.family, result.architecture) == ("encoder-only", "bert")
    assert result.outcome is Outcome.CRASH
    assert reason in result.reason
    assert result.cause


def test_a_crash_takes_no_earlier_failure_with_it() -> None:
    result = cell_result.result_of(job(), end_of("fails_then_falls"))
    assert (result.outcome, result.stage, result.reason) == (Outcome.FAIL, Stage.VERIFY, "wrong")
    (crash,) = result.further
    assert (crash.outcome, crash.stage) == (Outcome.CRASH, Stage.GENERATE)
    assert "SIGSEGV" in crash.reason
    assert "about" not in result.error


def test_a_cell_says_nothing_that_is_the_parents_to_say() -> None:
    claims = {"verdict": Verdict.OK, "fallback": "cpu", "architecture": "gpt2"}
    result = cell_result.result_of(job(), end_of("odd_cell", claims))
    assert (result.verdict, result.fallback, result.architecture) == (None, "", "bert")


def test_a_server_that_cannot_import_is_no_obstacle() -> None:
    code = (
        "from harness.workers.pool import run_one\n"
        "from harness.workers.task import Task\n"
        "from harness.workers.settings import WorkerSettings\n"
        "s = WorkerSettings(workers=1, preload=('no_such_module_of_ours', 'json'))\n"
        "print(run_one(Task('tests.isolation_targets:echo', 5, 'x'), s).value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_a_process_has_one_server() -> None:
    run_one(task("echo"), settings())
    with pytest.raises(RuntimeError, match="one fork server"):
        fork_server.start_server(WorkerSettings(preload=("json",)))
