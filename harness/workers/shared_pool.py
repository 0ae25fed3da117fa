"""Workers that serve many tasks each, for devices whose context is dear.

A task is first tried in a worker that others have used before it. What passes there counts. What
fails is run again in a process of its own, and only that counts: what a neighbour left behind (a
poisoned context, a leak, a changed global) is nobody's fault but the neighbour's. A worker in
which something failed is replaced.

Before a failure counts that may have broken the device itself, a probe in a process of its own
asks whether the device still answers. A device that does not is used no more; when none is left,
the run stops, and what failed on a dead device is stored for nobody.

Where a backend has several devices, each child is given the one that is least busy.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from typing import Any, Generic

from harness.contract import CellResult, HarnessError, Outcome
from harness.workers import child
from harness.workers.fork_server import Settings
from harness.workers.pool import Pool
from harness.workers.running import Running
from harness.workers.shared_worker import T, Worker
from harness.workers.task import Ending, Standing, Task


class Trouble(enum.IntEnum):
    """What the end of a task says about its surroundings."""

    NONE = 0  # it counts at once
    OWN = 1  # the task's own affair: run it again alone, and go on with the worker
    PROCESS = 2  # replace the worker too, and probe the device where the cause is a new one
    DEVICE = 3  # probe the device in any case


#: Outcomes of a cell that a program on the device has hardly come to.
_HARMLESS = frozenset({Outcome.UNSUPPORTED, Outcome.UNTESTED, Outcome.INCONCLUSIVE})


def trouble(ending: Ending) -> Trouble:
    """What the end of a task says about its surroundings."""
    result = ending.value
    outcome = result.outcome if isinstance(result, CellResult) else ending.outcome
    if outcome in (None, Outcome.PASS, Outcome.ABSENT):
        return Trouble.NONE
    if outcome in (Outcome.CRASH, Outcome.TIMEOUT):
        return Trouble.DEVICE
    return Trouble.OWN if outcome in _HARMLESS else Trouble.PROCESS


@dataclass(slots=True)
class Again(Generic[T]):
    """A task to be run once more, alone in its process."""

    task: Task
    future: Future[T]
    unit: str
    first: Ending

    @property
    def exclusive(self) -> bool:
        """Whether nothing else may hold memory of the device meanwhile: it ran out before."""
        result = self.first.value
        outcome = result.outcome if isinstance(result, CellResult) else self.first.outcome
        return outcome is Outcome.OOM


class Alone(Running[T]):
    """A task that is run again in a process of its own."""

    def __init__(self, again: Again[T], *made: Any) -> None:
        super().__init__(again.task, again.future, *made)
        self.unit = again.unit
        self.again = again


class Question(Running[T]):
    """A probe of a device, and the failure that waits for the answer."""

    def __init__(self, probe: Task, again: Again[T], ending: Ending, *made: Any) -> None:
        super().__init__(probe, again.future, *made)
        self.unit = again.unit
        self.again = again
        self.ending = ending


class SharedPool(Pool[T]):
    """Runs tasks in workers that serve many of them; see this module.

    Args:
        finish: as for `Pool`.
        settings: as for `Pool`; `workers` is the number of children that work at once, over all
            `units`.
        probe: asks whether a device still answers; None: nobody asks.
    """

    def __init__(
        self,
        finish: Callable[[Task, Ending], T],
        settings: Settings,
        probe: Task | None = None,
    ) -> None:
        super().__init__(finish, settings)
        self._probe = probe
        self._units = list(settings.units or ("",))
        self._again: list[Again[T]] = []
        self._cleared: set[str] = set()  # causes after which the device was found well

    def running(self) -> list[Standing]:
        """What is running now, the longest first; an idle worker is not."""
        now = time.monotonic()
        return [Standing(c.task.label, c.stage, now - c.started) for c in self._busy()]

    def _abandon(self) -> None:
        super()._abandon()
        for item in self._again:
            item.future.cancel()

    def _unfinished(self) -> bool:
        return bool(self._waiting or self._running or self._again)

    # --- Starting -----------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        while not self._stopping and len(self._busy()) < self._settings.workers:
            if not (self._start_again() or self._start_shared()):
                break
        if not self._waiting:
            self._retire_idle(self._units)

    def _start_again(self) -> bool:
        """Run a failure again, alone; whether one could be started."""
        for item in self._again:
            if item.exclusive:
                self._retire_idle([item.unit])
            closed = self._on(item.unit) if item.exclusive else self._on(item.unit, Question)
            if closed:
                continue
            self._again.remove(item)
            made = self._process_for(item.task.on(item.unit))
            self._start(Alone(item, *made, self._settings.limits))
            return True
        return False

    def _start_shared(self) -> bool:
        """Give a waiting task to an idle worker or to a new one; whether there was one."""
        closed = {item.unit for item in self._again if item.exclusive}
        for running in self._running:
            if isinstance(running, Question) or (
                isinstance(running, Alone) and running.again.exclusive
            ):
                closed.add(running.unit)
        open_units = [unit for unit in self._units if unit not in closed]
        if not self._waiting or not open_units:
            return False
        unit = min(open_units, key=lambda unit: len(set(self._on(unit)) & set(self._busy())))
        task, future = self._waiting.popleft()
        idle = (w for w in self._idle() if w.unit == unit)
        worker = next(idle, None) or self._new_worker(unit)
        worker.give(task.on(unit), future)
        if worker not in self._running:
            self._start(worker)
        return True

    def _new_worker(self, unit: str) -> Worker[T]:
        folder, limits = self._new_folder(), self._settings.limits
        messages, childs_messages = self._context.Pipe(duplex=True)
        childs_requests, requests = self._context.Pipe(duplex=False)
        ends = (childs_messages, childs_requests)
        process: BaseProcess = self._context.Process(
            target=child.serve, args=(*ends, limits, folder), name=f"worker {unit}".strip()
        )
        return Worker(unit, requests, process, messages, ends, folder, limits)

    def _busy(self) -> list[Running[T]]:
        return [c for c in tuple(self._running) if not isinstance(c, Worker) or c.busy]

    def _idle(self) -> list[Worker[T]]:
        return [w for w in self._running if isinstance(w, Worker) and not (w.busy or w.retired)]

    def _on(self, unit: str, kind: type = Running) -> list[Running[T]]:
        """The children that hold a device, idle ones too."""
        return [c for c in self._running if getattr(c, "unit", "") == unit and isinstance(c, kind)]

    def _retire_idle(self, units: Sequence[str]) -> None:
        for worker in self._idle():
            if worker.unit in units:
                worker.retire()

    # --- Ending -------------------------------------------------------------------------------

    def _heard(self, running: Running[T]) -> None:
        ending = running.take() if isinstance(running, Worker) else None
        if isinstance(running, Worker) and ending is not None:
            self._first_try(running, ending)
            if trouble(ending) >= Trouble.PROCESS or running.leaks():
                running.retire()

    def _ended(self, running: Running[T]) -> None:
        if isinstance(running, Worker):
            if running.busy:
                self._first_try(running, running.take() or running.end())
            running.leave()
            return
        ending = running.end()
        running.leave()
        if isinstance(running, Alone):
            self._second_try(running.again, ending)
        elif isinstance(running, Question):
            self._answered(running, ending)

    def _first_try(self, worker: Worker[T], ending: Ending) -> None:
        """A task has ended in a shared worker: a failure there says nothing yet."""
        if trouble(ending) is Trouble.NONE:
            self._conclude(worker.task, worker.future, ending)
        else:
            self._queue(Again(worker.task, worker.future, worker.unit, ending))

    def _queue(self, again: Again[T]) -> None:
        """Let a task be run again, on its own device while that is in use, else on another."""
        if again.unit not in self._units and self._units:
            again.unit = self._units[0]
        self._again.append(again)

    def _second_try(self, again: Again[T], ending: Ending) -> None:
        """A task has ended alone: that counts, unless the device itself is broken."""
        if again.unit not in self._units:  # found dead meanwhile, and this was ended with it
            self._queue(again)
            return
        ending = replace(ending, before=_said(again.first))
        found, cause = trouble(ending), _cause(ending)
        new = found is Trouble.PROCESS and cause not in self._cleared
        if self._probe is None or not (found is Trouble.DEVICE or new):
            self._conclude(again.task, again.future, ending)
            return
        probe = self._probe.on(again.unit)
        made = self._process_for(probe)
        self._start(Question(probe, again, ending, *made, self._settings.limits))

    def _answered(self, question: Question[T], answer: Ending) -> None:
        """A probe has ended: a device that answers clears its cause, a dead one is used no more."""
        again = question.again
        if answer.outcome is None:
            self._cleared.add(_cause(question.ending))
            self._conclude(again.task, again.future, question.ending)
            return
        if again.unit in self._units:
            self._units.remove(again.unit)
        for running in self._on(again.unit):
            running.kill()
        self._again, waited = [], [*self._again, again]
        for item in waited:
            self._queue(item)
        if self._units:
            return
        device = f"device {again.unit}" if again.unit else "the device"
        error = HarnessError(
            f"expected {device} to answer after {again.task.label} ({_said(question.ending)}), "
            f"found: {answer.reason}. What was stored before is kept, and nothing that failed "
            "since. Fix: reset the device, then run the rest, without that entry "
            '(-k "not NAME") where it breaks the device again'
        )
        # Behind what has ended before, and seen before anybody sees a cancelled future.
        self._finisher.submit(self._stop, error).result()

    def _stop(self, error: HarnessError) -> None:
        self.error = error
        self._stopping = True


def _cause(ending: Ending) -> str:
    result = ending.value
    cause = result.cause if isinstance(result, CellResult) else ending.cause
    return cause or _said(ending)


def _said(ending: Ending) -> str:
    """A failure in a line: outcome, stage and reason."""
    of = ending.value if isinstance(ending.value, CellResult) else ending
    return f"{of.outcome} at {of.stage}: {of.reason}"
