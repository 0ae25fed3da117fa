"""Shared pool: workers that serve many tasks each, for devices whose context is dear.

A task is first tried in a worker that others have used before it. A pass there counts. A failure
is run again in a process of its own, and only that second run counts: whatever a neighbour left
behind (a poisoned context, a leak, a changed global) is no fault of the task. A worker in which
something failed is replaced.

Before a failure counts that may have broken the device itself, a probe in a process of its own
asks whether the device still answers. A device that does not answer is used no more; when none is
left, the run stops, and failures on a dead device are not stored.

Where a backend has several devices, each child is given the one that is least busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from typing import Any, Generic

from harness.contract import HarnessError, Outcome
from harness.workers import child
from harness.workers.ending import Ending
from harness.workers.failure_scope import (
    FailureScope,
    cause_of,
    failure_line,
    failure_scope,
    outcome_of,
)
from harness.workers.pool import Pool
from harness.workers.running_child import RunningChild
from harness.workers.settings import WorkerSettings
from harness.workers.shared_worker import SharedWorker
from harness.workers.task import T, Task, TaskStatus


@dataclass(slots=True)
class Rerun(Generic[T]):
    """A failed task that waits to be run again, alone in its process, on the device `unit`."""

    task: Task
    future: Future[T]
    unit: str
    first: Ending
    disturbed: bool = False  # whether something outside has ended a second try

    @property
    def exclusive(self) -> bool:
        """Whether nothing may run beside it: the device's memory ran out, or it was disturbed."""
        return self.disturbed or outcome_of(self.first) is Outcome.OOM


class RunningRerun(RunningChild[T]):
    """The process of a task that is run again alone."""

    def __init__(self, rerun: Rerun[T], *process: Any) -> None:
        super().__init__(rerun.task, rerun.future, *process)
        self.unit = rerun.unit
        self.rerun = rerun


class RunningProbe(RunningChild[T]):
    """The process of a probe of a device, and the failure that waits for the answer."""

    def __init__(self, probe: Task, rerun: Rerun[T], ending: Ending, *process: Any) -> None:
        super().__init__(probe, rerun.future, *process)
        self.unit = rerun.unit
        self.rerun = rerun
        self.ending = ending


class SharedPool(Pool[T]):
    """Runs tasks in shared workers, and failures again alone.

    Args:
        finish: as for `Pool`.
        settings: as for `Pool`; `workers` is the number of children that work at once, over all
            `units`.
        probe: the task that asks whether a device still answers; None: no device is probed.
        repeat: as for `Pool`.
        admit: as for `Pool`.
    """

    def __init__(
        self,
        finish: Callable[[Task, Ending], T],
        settings: WorkerSettings,
        probe: Task | None = None,
        repeat: Callable[[Task, T], bool] | None = None,
        admit: Callable[[Task], Task | None] | None = None,
    ) -> None:
        super().__init__(finish, settings, repeat, admit)
        self._probe = probe
        self._units = list(settings.units or ("",))
        self._reruns: list[Rerun[T]] = []
        self._cleared: set[str] = set()  # causes after which a device answered its probe

    def running(self) -> list[TaskStatus]:
        """The tasks that are running now, the longest first; an idle worker has none."""
        now = time.monotonic()
        return [TaskStatus(c.task.label, c.stage, now - c.started) for c in self._busy()]

    def _unfinished(self) -> bool:
        work = self._finishes() or self._waiting or self._running or self._reruns
        return bool(self._more or work)

    # --- Starting -----------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        self._queue_repeated()
        while not self._stopping and len(self._busy()) < self._settings.workers:
            if not (self._start_rerun() or self._start_shared()):
                break
        if not (self._waiting or self._more):
            self._retire_idle(self._units)

    def _start_rerun(self) -> bool:
        """Start the first rerun that may run now; returns whether there was one."""
        for item in self._reruns:
            if item.exclusive:
                self._retire_idle([item.unit])
            closed = self._on(item.unit) if item.exclusive else self._on(item.unit, RunningProbe)
            if closed:
                continue
            process = self._process_for(item.task.on(item.unit))
            self._reruns.remove(item)
            self._start(RunningRerun(item, *process, self._settings.limits))
            return True
        return False

    def _start_shared(self) -> bool:
        """Give a waiting task to an idle worker or a new one; returns whether there was a task."""
        closed = {item.unit for item in self._reruns if item.exclusive}
        for running in self._running:
            if isinstance(running, RunningProbe) or (
                isinstance(running, RunningRerun) and running.rerun.exclusive
            ):
                closed.add(running.unit)
        open_units = [unit for unit in self._units if unit not in closed]
        if not open_units or not self._admits():
            return False
        unit = min(open_units, key=lambda unit: len(set(self._on(unit)) & set(self._busy())))
        idle = (w for w in self._idle() if w.unit == unit)
        worker = next(idle, None) or self._new_worker(unit)
        task, future = self._waiting.popleft()
        worker.give(task.on(unit), future)
        if worker not in self._running:
            self._start(worker)
        return True

    def _new_worker(self, unit: str) -> SharedWorker[T]:
        folder, limits = self._new_folder(), self._settings.limits
        messages, childs_messages = self._context.Pipe(duplex=True)
        childs_requests, requests = self._context.Pipe(duplex=False)
        ends = (childs_messages, childs_requests)
        process: BaseProcess = self._context.Process(
            target=child.serve, args=(*ends, limits, folder), name=f"worker {unit}".strip()
        )
        return SharedWorker(unit, requests, process, messages, ends, folder, limits)

    def _busy(self) -> list[RunningChild[T]]:
        return [c for c in tuple(self._running) if not isinstance(c, SharedWorker) or c.busy]

    def _idle(self) -> list[SharedWorker[T]]:
        return [
            w for w in self._running if isinstance(w, SharedWorker) and not (w.busy or w.retired)
        ]

    def _on(self, unit: str, kind: type = RunningChild) -> list[RunningChild[T]]:
        """The children that hold a device, idle workers too."""
        return [c for c in self._running if getattr(c, "unit", "") == unit and isinstance(c, kind)]

    def _retire_idle(self, units: Sequence[str]) -> None:
        for worker in self._idle():
            if worker.unit in units:
                worker.retire()

    # --- Ending -------------------------------------------------------------------------------

    def _heard(self, running: RunningChild[T]) -> None:
        ending = running.take() if isinstance(running, SharedWorker) else None
        if isinstance(running, SharedWorker) and ending is not None:
            self._first_try(running, ending)
            if failure_scope(ending) >= FailureScope.PROCESS or running.leaks():
                running.retire()

    def _ended(self, running: RunningChild[T]) -> None:
        if isinstance(running, SharedWorker):
            if running.busy:
                self._first_try(running, running.take() or running.end())
            running.release()
            return
        ending = running.end()
        running.release()
        if isinstance(running, RunningRerun):
            self._second_try(running.rerun, ending)
        elif isinstance(running, RunningProbe):
            self._answered(running, ending)

    def _first_try(self, worker: SharedWorker[T], ending: Ending) -> None:
        """Conclude a task that passed in a shared worker; queue a rerun of one that failed."""
        if failure_scope(ending) is FailureScope.NONE:
            self._conclude(worker.task, worker.future, ending)
        else:
            task = self._second_tries.of(worker.task, ending) or worker.task
            self._queue(Rerun(task, worker.future, worker.unit, ending))

    def _queue(self, rerun: Rerun[T]) -> None:
        """Queue a rerun, on its own device while that is in use, else on another."""
        if rerun.unit not in self._units and self._units:
            rerun.unit = self._units[0]
        self._reruns.append(rerun)

    def _second_try(self, rerun: Rerun[T], ending: Ending) -> None:
        """Conclude a task that was run again alone, or probe its device first."""
        if rerun.unit not in self._units:  # found dead meanwhile, and this run was killed with it
            self._queue(rerun)
            return
        if ending.disturbed and not rerun.disturbed:
            rerun.disturbed = True
            self._queue(rerun)
            return
        if (second := self._second_tries.of(rerun.task, ending)) is not None:
            self._queue(Rerun(second, rerun.future, rerun.unit, ending))
            return
        ending = replace(ending, before=failure_line(rerun.first))
        scope = failure_scope(ending)
        new = scope is FailureScope.PROCESS and cause_of(ending) not in self._cleared
        if self._probe is None or not (scope is FailureScope.DEVICE or new):
            self._conclude(rerun.task, rerun.future, ending)
            return
        self._start_probe(self._probe.on(rerun.unit), rerun, ending)

    def _start_probe(
        self, probe: Task, rerun: Rerun[T], ending: Ending, first: Ending | None = None
    ) -> None:
        process = self._process_for(probe)
        running = RunningProbe(probe, rerun, ending, *process, self._settings.limits)
        running.first = first
        self._start(running)

    def _answered(self, probe: RunningProbe[T], answer: Ending) -> None:
        """Clear the cause that a probe was about where the device answers; else give it up."""
        rerun = probe.rerun
        if answer.disturbed and probe.first is None:  # no answer of the device
            self._start_probe(probe.task, rerun, probe.ending, answer)
            return
        if answer.outcome is None:
            self._cleared.add(cause_of(probe.ending))
            self._conclude(rerun.task, rerun.future, probe.ending)
            return
        if rerun.unit in self._units:
            self._units.remove(rerun.unit)
        for running in self._on(rerun.unit):
            running.kill()
        self._reruns, waiting = [], [*self._reruns, rerun]
        for item in waiting:
            self._queue(item)
        if self._units:
            return
        device = f"device {rerun.unit}" if rerun.unit else "the device"
        error = HarnessError(
            f"expected {device} to answer after {rerun.task.label} ({failure_line(probe.ending)}), "
            f"found: {answer.reason}. What was stored before is kept, and nothing that failed "
            "since. Fix: reset the device, then run the rest, without that entry "
            '(-k "not NAME") where it breaks the device again'
        )
        # After all endings before it, and before a caller sees a cancelled future.
        self._finisher.submit(self._stop, error).result()

    def _stop(self, error: HarnessError) -> None:
        self._futures.fail(error)
        self._stopping = True
