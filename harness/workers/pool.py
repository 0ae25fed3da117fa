"""Pool of child processes, one per task: a crash or a hang costs the task alone.

Children are forked from a fork server (`harness.workers.fork_server`). A dispatcher thread keeps
some of them running at once and turns every way in which a child can end into an `Ending`.

Each limit is enforced twice: in the child, with the kernel's help (`harness.workers.limits`), so
that a huge allocation is a clean MemoryError and a hang ends with the place where it hung; and by
the dispatcher, which watches clock and memory and kills.

A task can also be run again because of its result, as often as `repeat` says: its future stays open
until then, and has the last value where the pool is closed before.

A task whose own limit on time is shorter (`harness.workers.second_tries`) has the full one in a
second try.

A task that something outside has ended, such as the end of the fork server, is run again, twice at
most and with nothing beside it: what fails then is its own fault.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic

from harness.contract import HarnessError, Outcome, Stage
from harness.workers import child
from harness.workers.ending import Ending
from harness.workers.fork_server import GONE, context, end_server, starting
from harness.workers.run_folder import new_folder, no_room
from harness.workers.running_child import GRACE, OUTPUT, RunningChild
from harness.workers.second_tries import SecondTries
from harness.workers.settings import WorkerSettings
from harness.workers.task import T, Task, TaskStatus
from harness.workers.task_futures import TaskFutures

#: A process, the parent's end of its pipe, its own ends of all pipes, and its folder.
_Process = tuple[BaseProcess, Connection, Sequence[Connection], Path]

#: Seconds that the dispatcher is given to end, before the fork server is killed and after.
CLOSING = 3.0

#: How often a task is tried that something outside ends again and again.
TRIES = 3

#: Seconds between two looks at the memory of the children.
WATCH = 0.1

#: Seconds between two looks for processes that the children have started.
WATCH_DESCENDANTS = 1.0


class Pool(Generic[T]):
    """Runs tasks in child processes, some at once, in the order given.

    Args:
        finish: turns a task and its ending into the future's value; called in one thread, one
            task after the other, as soon as a child has ended. An exception of it stops the pool.
        settings: how many children, their limits, and how they are started.
        repeat: whether a task is to be run again, from the value that `finish` has given; called
            in the same thread. None: no task is.
        admit: the task to run in a task's place, or None while it has to wait and those behind it
            too; called again and again, in the dispatcher's thread. None: each may run as it is.

    """

    def __init__(
        self,
        finish: Callable[[Task, Ending], T],
        settings: WorkerSettings,
        repeat: Callable[[Task, T], bool] | None = None,
        admit: Callable[[Task], Task | None] | None = None,
    ) -> None:
        self._admit = admit
        self._futures = TaskFutures(finish, repeat)
        self._finishing: set[object] = set()  # a token for each ending that waits for `finish`
        self._repeated: deque[tuple[Task, Future[T]]] = deque()  # to be run again
        self._settings = settings
        self._context: Any = context(settings)
        self._waiting: deque[tuple[Task, Future[T]]] = deque()
        self._second_tries = SecondTries()
        self._again: deque[tuple[Task, Future[T], Ending, int]] = deque()  # ended from outside
        self._running: list[RunningChild[T]] = []
        self._stopping = False
        self._more = False  # whether `add` may bring further tasks
        self._wake_read, self._wake_write = multiprocessing.Pipe(duplex=False)
        self._folder = new_folder()
        self._count = 0
        self._next_look = 0.0
        self._next_deep_look = 0.0
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="harness-finish")
        self._dispatcher = threading.Thread(
            target=self._dispatch, name="harness-dispatch", daemon=True
        )

    @property
    def error(self) -> BaseException | None:
        """The exception that stopped the pool; None where it was not stopped."""
        return self._futures.error

    def start(self, tasks: Sequence[Task], *, more: bool = False) -> list[Future[T]]:
        """Begin, and return one future a task. Call it once.

        A future raises the exception of `finish`, or `CancelledError` where its task was not run.

        Args:
            tasks: the first ones.
            more: whether `add` brings others; the pool then goes on until it is closed.
        """
        self._more = more
        futures = self._take_in(tasks)
        self._dispatcher.start()
        return futures

    def add(self, tasks: Sequence[Task]) -> list[Future[T]]:
        """Queue further tasks behind the others, from any thread; returns one future a task."""
        futures = self._take_in(tasks)
        self._wake()
        return futures

    def _take_in(self, tasks: Sequence[Task]) -> list[Future[T]]:
        pairs = [(task, self._futures.new()) for task in tasks]
        self._waiting.extend(pairs)
        return [future for _, future in pairs]

    def running(self) -> list[TaskStatus]:
        """The tasks that are running now, the longest first."""
        now = time.monotonic()
        return [TaskStatus(c.task.label, c.stage, now - c.started) for c in tuple(self._running)]

    def close(self) -> None:
        """Cancel waiting tasks, kill running children, finish ended ones. Safe to call twice."""
        self._stopping = True
        self._wake()
        if self._dispatcher.is_alive():
            self._dispatcher.join(timeout=CLOSING)
            if self._dispatcher.is_alive():  # it waits for a fork server that is importing
                end_server()
                self._dispatcher.join(timeout=CLOSING)
        self._finisher.shutdown(wait=True)
        if not self._dispatcher.is_alive():
            self._wake_read.close()
            self._wake_write.close()
        self._futures.settle_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Pool[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _dispatch(self) -> None:
        try:
            while not self._stopping and self._unfinished():
                self._start_waiting()
                self._look_after()
        except BaseException as error:  # a fault of ours: no future may stay open
            # After all endings before it, whose results count.
            self._finisher.submit(self._futures.fail, error).result()
        finally:
            for running in self._running:
                running.kill()
            for running in self._running:
                running.process.join(GRACE)
                self._futures.settle(running.future)
                running.release()
            self._running.clear()
            self._finisher.submit(self._futures.settle_all)

    def _wake(self) -> None:
        """Have the dispatcher look up."""
        with contextlib.suppress(OSError):
            self._wake_write.send_bytes(b"wake")

    def _unfinished(self) -> bool:
        work = self._finishes() or self._waiting or self._running or self._again
        return bool(self._more or work)

    def _finishes(self) -> bool:
        """Whether a task that has ended may be run again: it is queued before its token goes."""
        return bool(self._finishing or self._repeated)

    def _queue_repeated(self) -> None:
        """Queue the tasks that are to be run again, before all others."""
        while self._repeated:
            self._waiting.appendleft(self._repeated.popleft())

    def _admits(self) -> bool:
        """Whether there is a task that may start now; the callers' cancelled ones are dropped."""
        while self._waiting and self._waiting[0][1].cancelled():
            self._waiting.popleft()
        if not self._waiting or self._admit is None:
            return bool(self._waiting)
        task, future = self._waiting[0]
        admitted = self._admit(task)
        if admitted is not None:
            self._waiting[0] = (admitted, future)
        return admitted is not None

    def _start_waiting(self) -> None:
        """Start as many of the waiting tasks as may run now."""
        self._queue_repeated()
        while len(self._running) < self._settings.workers and self._admits():
            if self._stopping or self._again or any(c.first for c in self._running):
                break
            task, future = self._waiting[0]
            process = self._process_for(task)
            self._waiting.popleft()
            self._start(RunningChild(task, future, *process, self._settings.limits))
        if self._again and not self._running and not self._stopping:
            task, future, ending, tries = self._again[0]
            process = self._process_for(task)
            self._again.popleft()
            again = RunningChild(task, future, *process, self._settings.limits)
            again.first, again.tries = ending, tries + 1
            self._start(again)

    def _process_for(self, task: Task) -> _Process:
        """The process for one task, not yet started."""
        folder, limits = self._new_folder(), task.limits(self._settings.limits)
        parents_end, childs_end = self._context.Pipe(duplex=True)
        process: BaseProcess = self._context.Process(
            target=child.main,
            args=(childs_end, task.target, task.argument, limits, folder),
            name=task.label,
        )
        return process, parents_end, (childs_end,), folder

    def _new_folder(self) -> Path:
        """A folder for a child, with the file for its output.

        Raises:
            HarnessError: there is no room for them.
        """
        if not self._folder.is_dir():  # a cleaner of temporary files has removed it
            self._folder = new_folder()
        self._count += 1
        folder = self._folder / str(self._count)
        try:
            folder.mkdir()
            (folder / OUTPUT).touch()
        except OSError as error:
            raise no_room(folder, error) from error
        return folder

    def _start(self, running: RunningChild[T]) -> None:
        """Start a child's process; where that fails twice, its task ends as a crash."""
        try:
            with starting(self._settings):
                try:
                    running.process.start()
                except GONE:  # the fork server, or its socket
                    end_server()
                    running.process.start()
        except HarnessError:
            raise
        except Exception as error:
            reason = f"its process could not be started: {type(error).__name__}: {error}"
            running.unstarted = Ending(
                Outcome.CRASH, Stage.BUILD, 0.0, reason=reason, cause=reason, disturbed=True
            )
            self._ended(running)
        else:
            self._running.append(running)
        finally:
            for connection in running.childs_ends:
                connection.close()

    def _look_after(self) -> None:
        """Wait for messages, ends and deadlines of children, and deal with them."""
        now = time.monotonic()
        pause = min([WATCH, *(max(0.0, c.deadline - now) for c in self._running)])
        watched: list[Any] = [self._wake_read]
        for running in self._running:
            watched.append(running.process.sentinel)
            if not running.messages.ended:
                watched.append(running.messages.connection)
        ready = set(wait(watched, pause))
        if self._wake_read in ready:
            self._wake_read.recv_bytes()
        for running in list(self._running):
            ended = running.process.sentinel in ready or running.is_gone()
            if ended or running.messages.connection in ready:
                running.read()
            if ended:
                self._running.remove(running)
                self._ended(running)
            else:
                self._heard(running)
        now = time.monotonic()
        for running in self._running:
            if now > running.deadline:
                running.overdue()
        if now >= self._next_look:
            self._next_look = now + WATCH
            deep = now >= self._next_deep_look
            if deep:
                self._next_deep_look = now + WATCH_DESCENDANTS
            for running in self._running:
                running.watch(deep)

    def _heard(self, running: RunningChild[T]) -> None:
        """Deal with messages of a child that goes on; for shared workers."""

    def _ended(self, running: RunningChild[T]) -> None:
        """Conclude the task of a child whose process is gone, or have it run again."""
        ending = running.end()
        running.release()
        if ending.disturbed and running.tries < TRIES:
            self._again.append((running.task, running.future, ending, running.tries))
        elif (second := self._second_tries.of(running.task, ending)) is not None:
            self._waiting.appendleft((second, running.future))
        else:
            self._conclude(running.task, running.future, ending)

    def _conclude(self, task: Task, future: Future[T], ending: Ending) -> None:
        token = object()
        self._finishing.add(token)
        self._finisher.submit(self._call_finish, task, future, ending, token)

    def _call_finish(self, task: Task, future: Future[T], ending: Ending, token: object) -> None:
        try:
            if self._futures.conclude(task, future, ending):
                self._repeated.append((task, future))
            elif self.error is not None:
                self._stopping = True
        finally:
            self._finishing.discard(token)
            self._wake()


def run_one(task: Task, settings: WorkerSettings) -> Ending:
    """Run one task in a child of its own and wait for its end."""
    with Pool(lambda _, ending: ending, settings) as pool:
        future = pool.start([task])[0]
        while True:
            # Without a timeout, Windows would not let Ctrl-C through.
            with contextlib.suppress(TimeoutError):
                return future.result(timeout=0.5)
