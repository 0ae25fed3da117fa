"""Functions that the tests of isolation run in a child; each ends in its own way."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.cell.request import Job
from harness.contract import (
    Cell,
    CellFailure,
    CellResult,
    Entry,
    HarnessError,
    Outcome,
    Stage,
    Unavailable,
)

Report = Callable[..., None]


def echo(argument: Any, report: Report) -> Any:
    return argument


def as_float(argument: int, report: Report) -> Any:
    return np.float64(argument)


def environment(names: list[str], report: Report) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def stages(argument: Any, report: Report) -> None:
    report(Stage.INPUTS)
    report(Stage.PREPARE)
    raise ValueError("odd\nvalue")


def segfault(argument: Any, report: Report) -> None:
    report(Stage.RUN)
    print("about to fall")
    ctypes.string_at(0)


def abort(argument: Any, report: Report) -> None:
    os.abort()


def killed(argument: Any, report: Report) -> None:
    report(Stage.PREPARE)
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(code: int, report: Report) -> None:
    os._exit(code)


def exits(code: Any, report: Report) -> None:
    report(Stage.PREPARE)
    sys.exit(code)


def sleeps(seconds: float, report: Report) -> str:
    report(Stage.RUN)
    time.sleep(seconds)
    return "awake"


def hangs_in_c(argument: Any, report: Report) -> None:
    """Never gives the interpreter's lock back, so that no Python code in this process can run."""
    report(Stage.RUN)
    ctypes.PyDLL(None).sleep(60)


def hangs_with_threads(count: int, report: Report) -> None:
    """Their stacks are longer than the part of the output that is kept."""
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    sleeps(60, report)


def allocates(size: int, report: Report) -> int:
    report(Stage.RUN)
    return int(np.zeros(size, dtype=np.uint8).size)


def holds(megabytes: int, report: Report) -> float:
    """Touches that much memory and gives it back."""
    return float(np.ones(megabytes * 1_000_000, dtype=np.uint8)[::4096].sum())


def child_holds(megabytes: int, report: Report) -> None:
    """Its own child holds the memory, where no limit of ours reaches."""
    report(Stage.RUN)
    code = (
        "import resource, time; "
        "resource.setrlimit(resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA)); "
        f"x = bytearray(b'x') * {megabytes * 1_000_000}; time.sleep(60)"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=False)


def raises_torchs_oom(argument: Any, report: Report) -> None:
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 50000000000 bytes. Error code 12 (Cannot allocate memory)"
    )


def as_numpy_text(argument: str, report: Report) -> Any:
    return {"a": (np.str_(argument), np.bool_(True), np.int8(3)), "b": [float("nan"), np.inf]}


def frame(data: bytes, report: Report) -> str:
    """Sends a frame of its own, then returns as if nothing were."""
    return rubbish(len(data).to_bytes(4, "big") + data, report)


def rubbish(data: bytes, report: Report) -> str:
    report(Stage.RUN)
    os.write(int(os.environ["HARNESS_RESULT_FD"]), data)
    return "said"


def rubbish_then_sleep(data: bytes, report: Report) -> None:
    os.write(int(os.environ["HARNESS_RESULT_FD"]), data)
    time.sleep(60)


class Foreign:
    """A type that the parent must not build."""


def foreign(argument: Any, report: Report) -> Foreign:
    return Foreign()


def function(argument: Any, report: Report) -> Any:
    return lambda: None


def noisy(lines: int, report: Report) -> None:
    for line in range(lines):
        print(f"line {line}")
    os.write(2, b"from C\n")
    raise RuntimeError("enough")


def warns(argument: Any, report: Report) -> str:
    warnings.warn("careful", stacklevel=1)
    return "warned"


def writes_temporary(argument: Any, report: Report) -> str:
    folder = tempfile.mkdtemp()
    Path(folder, "large").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
    return folder


def temporary(argument: Any, report: Report) -> str:
    return tempfile.mkdtemp()


def leaves_child(path: str, report: Report) -> int:
    """Returns while a process that it started goes on."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    Path(path).write_text(str(process.pid))
    return process.pid


def forks_and_hangs(path: str, report: Report) -> None:
    report(Stage.RUN)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(path).write_text(f"{os.getpid()} {pid}")
    time.sleep(60)


def kills_server(marker: str, report: Report) -> str:
    """Kills its fork server, once where a file is to be made, else each time."""
    report(Stage.RUN)
    if not (marker and Path(marker).exists()):
        if marker:
            Path(marker).touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return "survived"


def waits_for(path: str, report: Report) -> str:
    """Ends once there is a file, and a little later than who waits for the same."""
    report(Stage.RUN)
    while not Path(path).exists():
        time.sleep(0.01)
    time.sleep(0.5)
    return "came"


def signalled_once(argument: tuple[str, int], report: Report) -> str:
    """Gets a signal from outside, unless a file says that it has had one."""
    marker, number = argument
    report(Stage.RUN)
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), number)
        time.sleep(60)
    return "survived"


def full_once(marker: str, report: Report) -> str:
    """Finds the disk full, as neighbours have filled it, unless a file says that it has."""
    if not Path(marker).exists():
        Path(marker).touch()
        raise OSError(28, "No space left on device")
    return "survived"


def cleaned(argument: Any, report: Report) -> str:
    """A cleaner of temporary files removes those of the whole session while a cell uses them."""
    report(Stage.RUN)
    session = next(p for p in Path(tempfile.gettempdir()).parents if p.name.startswith("harness-"))
    if not (session.parent / f"{session.name}.cleaned").exists():
        (session.parent / f"{session.name}.cleaned").touch()
        shutil.rmtree(session)
    else:
        (session.parent / f"{session.name}.cleaned").unlink()
    return tempfile.mkdtemp()


def leaves_daemon(argument: tuple[str, bool], report: Report) -> str:
    """Forks twice and leaves its session, as daemons do; without its environment where wanted."""
    path, bare = argument
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); "
            environment = {} if bare else dict(os.environ)
            os.execve(
                sys.executable,
                [sys.executable, "-S", "-c", f"{code}time.sleep(60)", path],
                environment,
            )
        os._exit(0)
    while not (Path(path).exists() and Path(path).read_text()):
        time.sleep(0.01)
    return "left"


def closes_descriptors(argument: Any, report: Report) -> str:
    report(Stage.RUN)
    os.closerange(3, 256)
    return "done"


def replaces_descriptors(path: str, report: Report) -> str:
    """The numbers of the closed descriptors belong to other files, which stay as they are."""
    report(Stage.RUN)
    os.closerange(3, 256)
    for _ in range(100):
        os.open(path, os.O_WRONLY | os.O_CREAT)
    return "done"


def raises_unreadable(argument: Any, report: Report) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    raise Odd


def raises_surrogates(argument: Any, report: Report) -> None:
    raise RuntimeError(os.fsdecode(b"caf\xe9.bin"))


def refuses(argument: Any, report: Report) -> None:
    raise HarnessError("expected a, found b. Fix: c")


def unavailable(argument: Any, report: Report) -> None:
    raise Unavailable("expected a device, found none.", "buy one")


def fails_then_falls(argument: Any, report: Report) -> None:
    report(Stage.GENERATE, [CellFailure(Stage.VERIFY, Outcome.FAIL, "wrong", "a cause", "T")])
    ctypes.string_at(0)


def odd_cell(changes: dict[str, Any], report: Report) -> CellResult:
    result = cell(isolated_job(), report)
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def isolated_job() -> Job:
    entry = Entry("bert", "encoder-only", "bert")
    return Job(Cell(entry, "good", "f16", "fill-mask"), 0, "tiny", Path("fakes"))


def cell(job: Job, report: Report) -> CellResult:
    entry = job.cell.entry
    return CellResult(
        entry.name,
        entry.family,
        entry.architecture,
        job.cell.head,
        job.cell.precision,
        Stage.VERIFY,
        Outcome.FAIL,
        reason="wrong",
        error="Traceback ...",
    )


def waits(seconds: float, report: Report) -> str:
    """Waits within a library, whose place a timeout can name."""
    report(Stage.RUN)
    threading.Event().wait(seconds)
    return "done"
