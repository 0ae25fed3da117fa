"""Relay: the part of a session that runs in a worker of the engine, and holds the node's agent.

The engine sends this module's functions by value, so that a worker needs nothing of the harness. It
finds the checkout and the backend's Python on the node, makes the environment from the lock where
there is none, starts the agent there (`harness.cluster.agent`), and passes lines on in both
directions. Only the standard library is imported.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

#: Environment variables of a worker: the checkout on this node, and the backend's Python there.
CHECKOUT, PYTHON = "HARNESS_CHECKOUT", "HARNESS_PYTHON"

#: Attribute of a worker that holds its relays, by session.
HELD = "harness_relays"

#: Seconds without a word of the session after which its agent is ended: the session is gone.
LEASE = 60.0

#: Seconds in which lines are gathered to be sent at once.
GATHER = 0.1

#: The most characters that are sent at once, unless one line has more.
MOST = 1_000_000

#: Seconds that an agent is given to end.
ENDING = 15.0

#: Seconds that making an environment may take.
MAKING = 3600.0

#: Characters of an agent's errors that a message shows.
SHOWN = 2000


class NotServed(Exception):
    """A node that cannot serve the session; the message says expected, found and fix."""


class Relay:
    """One session on this node.

    Args:
        session: `root` and `python` of the session's own process, its backend's `name`, `package`
            as which the harness is imported, whether it is `installed`, and the `agent`'s first
            line.
        send: passes lines of the agent on; called in a thread.
    """

    def __init__(self, session: Mapping[str, Any], send: Callable[[list[str]], None]) -> None:
        self._session = session
        self._send = send
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # to the agent
        self._lines.put(session["agent"])
        self._heard = time.monotonic()
        self._over = threading.Event()

    def feed(self, lines: Sequence[str]) -> None:
        """Pass lines on to the agent; none just says that the session is there."""
        self._heard = time.monotonic()
        for line in lines:
            self._lines.put(line)

    def stop(self) -> None:
        """Have the agent end."""
        self._over.set()

    def run(self) -> str:
        """Start the agent and serve until it or the session ends.

        Returns:
            Why the agent has ended; empty where the session has.

        Raises:
            NotServed: there is no checkout or no environment on this node.
        """
        python, root = self._python()
        with tempfile.TemporaryFile() as errors:
            agent = subprocess.Popen(
                [str(python), "-m", f"{self._session['package']}.cluster.agent"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=root,
                env=self._environment(root), start_new_session=sys.platform != "win32",
            )  # fmt: skip
            try:
                return self._serve(agent, errors)
            finally:
                self._end(agent)

    # --- The environment ----------------------------------------------------------------------

    def _python(self) -> tuple[Path, Path]:
        """The backend's Python on this node, and the folder that its agent runs in."""
        session = self._session
        root = Path(os.environ.get(CHECKOUT) or session["root"])
        if not (root / session["package"]).is_dir() and not session["installed"]:
            raise NotServed(
                f"expected a checkout of this project in {root}, found none on this node. Fix: "
                f"copy it there, or start the worker with {CHECKOUT}=DIR"
            )
        if named := os.environ.get(PYTHON):
            if not Path(named).is_file():
                raise NotServed(
                    f"expected {PYTHON} of the worker to name a Python, found {named}. Fix: "
                    "correct it, or leave it out"
                )
            return Path(named), root
        own = Path(session["python"])
        if root == Path(session["root"]) and own.is_file():  # this machine, or a shared folder
            return own, root
        if session["installed"]:
            raise NotServed(
                f"expected the session's Python at {own} on this node, found none. Fix: the same "
                f"environment at the same place, or start the worker with {PYTHON}=PATH"
            )
        return self._made(root), root

    def _made(self, root: Path) -> Path:
        """The Python of the environment that nox makes from the pins in a checkout."""
        name = self._session["name"]
        folder = Path(root, ".nox", name)
        nox = self._nox()
        with _locked(root / ".nox" / f".{name}.lock"):
            environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
            # From the environment of the worker's Python, where nox brings uv.
            path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
            environment["PATH"] = os.pathsep.join(path)
            words = [*nox, "-s", name, "--install-only", "--envdir", str(root / ".nox")]
            if self._session["fallback"]:
                words += ["--", "--fallback", self._session["fallback"]]
            try:
                done = subprocess.run(
                    words, cwd=root, env=environment, stdin=subprocess.DEVNULL, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=MAKING, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotServed(
                    f"expected `{' '.join(words)}` in {root} to make the environment, found: "
                    f"{error}. Fix: run it there by hand"
                ) from error
        places = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
        python = folder.joinpath(*places)
        if done.returncode or not python.is_file():
            raise NotServed(
                f"expected `{' '.join(words)}` in {root} to make the environment, found exit "
                f"status {done.returncode}. Fix: run it there by hand. It printed:\n"
                f"{done.stdout[-SHOWN:]}"
            )
        return python

    def _nox(self) -> list[str]:
        beside = Path(sys.executable).with_name("nox")
        found = str(beside) if beside.is_file() else shutil.which("nox")
        if found is None:
            raise NotServed(
                "expected nox on this node, which makes the backend's environment, found none on "
                f"PATH or beside {sys.executable}. Fix: pip install 'nox[uv]' there, or start the "
                f"worker with {PYTHON}=PATH of an environment with the pins"
            )
        return [found]

    def _environment(self, root: Path) -> dict[str, str]:
        """The environment variables of the agent: those of the worker, and the user's choices."""
        dropped = {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTHONPATH"}
        found = {name: value for name, value in os.environ.items() if name not in dropped}
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        own = [] if self._session["installed"] else [str(root)]
        if path := [*own, *filter(None, given)]:
            found["PYTHONPATH"] = os.pathsep.join(path)
        defaults = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        return {**defaults, **found, **self._session["variables"]}

    # --- The agent ----------------------------------------------------------------------------

    def _serve(self, agent: subprocess.Popen[bytes], errors: BinaryIO) -> str:
        assert agent.stdin is not None
        assert agent.stdout is not None
        found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._write, args=(agent.stdin,), daemon=True),
            threading.Thread(target=_read, args=(agent.stdout, found), daemon=True),
        ]
        self.feed([])  # making the environment may have taken long
        for thread in threads:
            thread.start()
        while not self._over.is_set():
            try:
                line = found.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() - self._heard > LEASE:
                    return "the session has not been heard of"
                continue
            if line is None:
                agent.wait()
                errors.seek(0)
                told = errors.read().decode("utf-8", "replace").strip()[-SHOWN:]
                # -9 is SIGKILL, as when memory runs out.
                return f"its agent ended with exit status {agent.returncode}: {told or 'no error'}"
            lines, over = _gathered(line, found)
            self._send(lines)
            if over:
                found.put(None)
        return ""

    def _write(self, stream: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (line := self._lines.get()) is not None:
                stream.write(line.encode("ascii") + b"\n")
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _end(self, agent: subprocess.Popen[bytes]) -> None:
        """Close the agent's input, which ends it and its children; kill it where that hangs."""
        self._lines.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.wait(ENDING)
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                agent.kill()
            else:
                os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()


def _gathered(first: str, found: queue.SimpleQueue[str | None]) -> tuple[list[str], bool]:
    """A line and those that come within `GATHER`, and whether they were the last ones."""
    lines, size = [first], len(first)
    until = time.monotonic() + GATHER
    while size < MOST and (rest := until - time.monotonic()) > 0:
        try:
            line = found.get(timeout=rest)
        except queue.Empty:
            break
        if line is None:
            return lines, True
        lines.append(line)
        size += len(line)
    return lines, False


def _read(stream: BinaryIO, found: queue.SimpleQueue[str | None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            found.put(line.decode("ascii", "replace").rstrip("\n"))
    found.put(None)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A lock among the workers of one machine: one of them makes the environment."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- Functions that the engine runs on a worker ---------------------------------------------------


def serve(session: Mapping[str, Any], topic: str) -> tuple[str, bool]:
    """Task of the engine: hold a node for a session until that ends.

    Args:
        session: as `Relay` takes it, with its `id`.
        topic: under which the engine's clients hear the lines of this node.

    Returns:
        Why the node serves no more, empty where the session has ended; and whether another try on
        the same node would end in the same way.
    """
    from distributed import get_worker

    worker = get_worker()
    held = worker.__dict__.setdefault(HELD, {})

    def send(lines: list[str]) -> None:
        worker.log_event(topic, {"node": worker.address, "lines": lines})

    relay = held[session["id"]] = Relay(session, send)
    try:
        return relay.run(), False
    except NotServed as refusal:
        return str(refusal), True
    finally:
        held.pop(session["id"], None)


def feed(session: str, lines: Sequence[str], dask_worker: Any = None) -> bool:
    """Pass lines on to a session's agent; returns whether there is one on this worker."""
    relay = getattr(dask_worker, HELD, {}).get(session)
    if relay is not None:
        relay.feed(lines)
    return relay is not None


def stop(session: str, dask_worker: Any = None) -> bool:
    """Have a session's agent end; returns whether there is one on this worker."""
    relay = getattr(dask_worker, HELD, {}).get(session)
    if relay is not None:
        relay.stop()
    return relay is not None
