"""Agent: a process in the backend's environment on a node that runs the cells which it is sent.

It runs them in the pool of every session, with a fork server and children of its own. Requests
come as lines on standard input, from the session's process, whose code this is; answers go out as
lines on standard output, as frames (`harness.cluster.messages`). The end of the input ends the
agent with all that it has started: so does the end of the worker that holds it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import DeviceReport, Job, ProbeRequest
from harness.cluster.facts import facts_of
from harness.cluster.messages import Began, Declined, Hello, Running, RunningCell, ended
from harness.cluster.requests import AgentSettings, NodeTask, tasks_of
from harness.contract import HarnessError, Unavailable
from harness.toolkit.checkout import ROOT
from harness.workers import device_probe, fork_server, frames
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task
from harness.workers.task_endings import settings_of

#: Seconds between two messages about the cells that run; they also show that the agent lives.
STATUS = 1.0

#: Seconds that the pool is given to end, before the process leaves without it.
ENDING = 10.0


class Agent:
    """Runs the cells of one session on this node.

    Args:
        settings: of the session.
        output: takes the frames, a line each.
    """

    def __init__(self, settings: AgentSettings, output: BinaryIO) -> None:
        self._settings = settings
        self._output = output
        self._writing = threading.Lock()
        self._tickets: dict[str, int] = {}  # by the cells' ids

    def run(self, lines: Iterable[bytes]) -> int:
        """Say hello, then run the cells of each line until the lines end; the exit status."""
        try:
            spec = backends.find(
                self._settings.backend, (ROOT / self._settings.backends_dir).resolve()
            )
            self._check()
            settings = self._worker_settings(spec)
            fork_server.start_server(settings)
            hello = self._hello(spec, settings)
        except HarnessError as error:
            self._send(Declined(str(error)))
            return 1
        self._send(hello)
        if hello.device is None:
            return 1
        return self._serve(lines, spec, self._pool(spec, settings, hello.device))

    def _serve(self, lines: Iterable[bytes], spec: BackendSpec, pool: Pool[None]) -> int:
        over = threading.Event()
        pool.start([], more=True)

        def read() -> None:
            try:
                for line in lines:
                    pool.add(self._tasks(line, spec))
            finally:
                over.set()

        threading.Thread(target=read, name="harness-read", daemon=True).start()
        try:
            while not over.wait(STATUS) and pool.error is None:
                self._send_running(pool)
            if pool.error is not None:
                self._send(Declined(str(pool.error)))
                return 1
        finally:
            self._close(pool)
        return 0

    def _close(self, pool: Pool[None]) -> None:
        """Close the pool, and leave the process where that hangs."""
        leave = threading.Timer(ENDING, os._exit, [1])
        leave.daemon = True
        leave.start()
        pool.close()
        fork_server.end_session()
        leave.cancel()

    def _tasks(self, line: bytes, spec: BackendSpec) -> list[NodeTask]:
        """The tasks of a line, their paths those of this machine."""
        found = tasks_of(line)
        tasks = [replace(task, argument=self._here(task.argument, spec)) for task in found]
        self._tickets.update((task.label, task.ticket) for task in tasks)
        return tasks

    def _here(self, argument: Any, spec: BackendSpec) -> Any:
        if isinstance(argument, Job):
            return replace(argument, backends_dir=spec.folder.parent)
        return argument

    def _check(self) -> None:
        """Refuse real weights that are not here."""
        folder = self._settings.checkpoints
        if folder and not Path(folder).is_dir():
            raise HarnessError(
                f"expected the checkpoints in {folder} on every node, found no such folder here. "
                "Fix: a folder that all machines share, or a copy of it at the same place"
            )

    def _worker_settings(self, spec: BackendSpec) -> WorkerSettings:
        given = self._settings
        return replace(
            settings_of(spec, given.seconds, given.workers),
            beside=given.beside,
            limits=Limits(given.seconds, given.memory_mb),
            shared=spec.worker == "shared",
            preload=tuple(given.preload),
        )

    def _request(self, spec: BackendSpec) -> ProbeRequest:
        return ProbeRequest(spec.name, spec.folder.parent, self._settings.options)

    def _hello(self, spec: BackendSpec, settings: WorkerSettings) -> Hello:
        facts = facts_of(spec)
        try:
            absence = None if self._settings.options.get("fallback") else spec.missing_hardware()
            if absence is not None:
                raise absence
            found = device_probe.probe(self._request(spec), replace(settings, limits=Limits()))
        except Unavailable as absence:
            return Hello(facts, None, absence.reason, absence.fix)
        return Hello(facts, found)

    def _pool(self, spec: BackendSpec, settings: WorkerSettings, found: DeviceReport) -> Pool[None]:
        if not settings.shared:
            return Pool(self._finish, settings, admit=self._admit)
        chosen = found.device.fallback or "device" in self._settings.options
        settings = replace(settings, units=() if chosen else found.device.units)
        probe = Task(device_probe.PROBE, self._request(spec), f"probe of {spec.name}")
        return SharedPool(self._finish, settings, probe, admit=self._admit)

    def _admit(self, task: Task) -> Task:
        """Tell that a cell starts: what breaks this machine next is perhaps its fault."""
        self._send(Began(self._tickets[task.label]))
        return task

    def _finish(self, task: Task, ending: Ending) -> None:
        self._send(ended(self._tickets[task.label], ending))

    def _send_running(self, pool: Pool[None]) -> None:
        told = [
            RunningCell(self._tickets[status.label], status.stage, status.seconds)
            for status in pool.running()
            if status.label in self._tickets
        ]
        self._send(Running(tuple(told)))

    def _send(self, message: object) -> None:
        line = frames.encode(message) + b"\n"
        with self._writing, contextlib.suppress(OSError):  # the worker that holds it is gone
            self._output.write(line)
            self._output.flush()


def main() -> int:
    """Serve the session whose settings are in the first line of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the session's to handle
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    lines = sys.stdin.buffer
    first = lines.readline()
    if not first:
        return 0
    return Agent(AgentSettings.of_line(first), output).run(iter(lines.readline, b""))


if __name__ == "__main__":
    sys.exit(main())
