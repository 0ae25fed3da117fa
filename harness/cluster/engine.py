"""Engine: the bridge's process, started in the environment that has the engine.

The backend's environment lacks the engine. Nox makes one with it from the pins beside this file,
and names its Python; a user may name another one, or install the extra `cluster`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.contract import HarnessError
from harness.toolkit import typed_commands
from harness.toolkit.checkout import own_environment
from harness.toolkit.public_name import OWN
from harness.workers import run_folder
from harness.workers.orphans import MARK_VARIABLE

#: Environment variable that names the Python with the engine.
PYTHON = "HARNESS_CLUSTER_PYTHON"

#: Seconds that the bridge is given to end, with its cluster where it has started one.
CLOSING = 25.0

#: Characters of the bridge's errors that a message shows.
SHOWN = 2000


class Engine(Protocol):
    """A cluster's engine as a session sees it: orders go out, events come in."""

    def start(self, opening: Mapping[str, Any]) -> None:
        """Connect to the cluster; returns at once."""

    def order(self, **told: Any) -> None:
        """Give an order; nothing happens where the engine has ended."""

    def event(self, seconds: float) -> Mapping[str, Any] | None:
        """The next event; None where none comes within so many seconds."""

    def close(self) -> None:
        """End all agents of the session, and the engine. Safe to call twice."""


class BridgeProcess:
    """The engine in a process of its own (`harness.cluster.bridge`)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._errors = Path()
        self._writing = threading.Lock()

    def start(self, opening: Mapping[str, Any]) -> None:
        """Connect to the cluster; returns at once.

        Raises:
            HarnessError: no Python with the engine is known.
        """
        python = engine_python()
        folder = run_folder.new_folder()
        self._errors = folder / "errors"
        environment = {**own_environment(), MARK_VARIABLE: run_folder.run_folder().name}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", f"{OWN}.cluster.bridge"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment,
                # A terminal's Ctrl-C is the session's to handle.
                start_new_session=sys.platform != "win32",
            )  # fmt: skip
        threading.Thread(target=self._read, name="harness-bridge", daemon=True).start()
        self._write(opening)

    def order(self, **told: Any) -> None:
        """Give an order; nothing happens where the bridge has ended."""
        self._write(told)

    def event(self, seconds: float) -> Mapping[str, Any] | None:
        """The next event; None where none comes within so many seconds."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the bridge, and with it all agents of the session. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(CLOSING)
        if process.poll() is None:
            process.kill()
            process.wait()

    def _write(self, told: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with self._writing, contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps(dict(told)).encode("ascii") + b"\n")
            process.stdin.flush()

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        failed = False
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                failed = failed or event.get("event") == "failed"
                self._events.put(event)
        status = process.wait()
        if not failed:
            told = self._errors.read_text("utf-8", "replace").strip()[-SHOWN:]
            reason = (
                "expected the process that speaks with the cluster to go on, found that it ended "
                f"with exit status {status}. What was stored before is kept. Fix: run again\n{told}"
            )
            self._events.put({"event": "failed", "reason": reason})


def engine_python() -> Path:
    """The Python that has the engine.

    Raises:
        HarnessError: none is known, or the one that the user names is none.
    """
    if named := os.environ.get(PYTHON):
        if not Path(named).is_file():
            raise HarnessError(
                f"expected {PYTHON} to name a Python with dask.distributed, found {named}. "
                "Fix: correct it, or unset it: nox then makes an environment"
            )
        return Path(named)
    if importlib.util.find_spec("distributed") is not None:
        return Path(sys.executable)
    command = typed_commands.session("BACKEND", ["--cluster", "ADDRESS"])
    raise HarnessError(
        f"expected dask.distributed for --cluster, found none in this environment and no {PYTHON}. "
        f"Fix: {command}, with which nox makes an environment for it, or {PYTHON}=PATH of a "
        "Python that has it"
    )
