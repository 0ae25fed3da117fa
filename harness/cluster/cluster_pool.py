"""Cluster pool: runs tasks on the nodes of a cluster, for a session that knows the pool alone.

It has the interface of `harness.workers.pool.Pool`. Each node runs its tasks in that pool; here
tasks are handed out, and endings are taken in one after the other, whichever node they come from.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic

from harness.cluster.connection import Connection
from harness.cluster.listener import Listener
from harness.cluster.messages import Ended, Running, ending_of
from harness.cluster.requests import NodeTask
from harness.cluster.schedule import LOSSES, Schedule
from harness.contract import HarnessError, Outcome, Stage
from harness.toolkit import printable
from harness.workers.ending import Ending
from harness.workers.task import T, Task, TaskStatus
from harness.workers.task_futures import TaskFutures


class ClusterPool(Listener, Generic[T]):
    """Runs tasks on nodes, in the order given.

    Args:
        finish: as for `Pool`.
        connection: with a cluster, which has found its device.
        repeat: as for `Pool`.

    """

    def __init__(
        self,
        finish: Callable[[Task, Ending], T],
        connection: Connection,
        repeat: Callable[[Task, T], bool] | None = None,
    ) -> None:
        self.schedule = Schedule()
        self._futures = TaskFutures(finish, repeat)
        self._connection = connection
        self._numbers = itertools.count(1)
        self._tasks: dict[int, tuple[Task, Future[T]]] = {}  # by ticket, without an ending
        self._again: deque[tuple[Task, Future[T]]] = deque()
        self._running: dict[str, tuple[float, Running]] = {}
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="harness-finish")

    # --- For the session ----------------------------------------------------------------------

    @property
    def error(self) -> BaseException | None:
        """The exception that stopped the pool; None where it was not stopped."""
        return self._futures.error

    def start(self, tasks: Sequence[Task]) -> list[Future[T]]:
        """Begin, and return one future a task. Call it once.

        A future raises the exception of `finish`, or `CancelledError` where its task was not run.
        """
        pairs = [(task, self._futures.new()) for task in tasks]
        self.schedule.add([self._ticket(task, future) for task, future in pairs])
        self._connection.listen(self)
        return [future for _, future in pairs]

    def running(self) -> list[TaskStatus]:
        """The tasks that are running now, the longest first."""
        now = time.monotonic()
        found = []
        for heard, message in list(self._running.values()):
            for cell in message.cells:
                known = self._tasks.get(cell.ticket)
                if known is not None:
                    seconds = cell.seconds + now - heard
                    found.append(TaskStatus(known[0].label, cell.stage, seconds))
        return sorted(found, key=lambda status: -status.seconds)

    def close(self) -> None:
        """Cancel waiting tasks, end the nodes' agents, finish ended ones. Safe to call twice."""
        self._connection.close()
        self._finisher.shutdown(wait=True)
        self._futures.settle_all()

    def __enter__(self) -> ClusterPool[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- For the connection -------------------------------------------------------------------

    def joined(self, node: str, slots: int) -> None:
        """Give a node its first cells."""
        self.schedule.join(node, slots)
        self._give()

    def began(self, node: str, ticket: int) -> None:
        """Note where a cell runs."""
        self.schedule.began(node, ticket)

    def ended(self, node: str, message: Ended) -> None:
        """Take an ending in, unless the cell has one, and give the node another cell."""
        counts = self.schedule.ended(node, message.ticket)
        if counts and message.ticket in self._tasks:
            self._conclude(message.ticket, ending_of(message))
        self._give()

    def status(self, node: str, message: Running) -> None:
        """Keep the cells that run on a node."""
        self._running[node] = (time.monotonic(), message)

    def left(self, node: str, reason: str) -> None:
        """Have the cells of a lost node run elsewhere."""
        self._running.pop(node, None)
        for ticket in self.schedule.lose(node):
            label = self._tasks[ticket][0].label
            told = (
                f"the node that ran {label} was lost {LOSSES} times, the last time with nothing "
                f"beside it: {printable.line(reason)}"
            )
            self._conclude(
                ticket,
                Ending(
                    Outcome.CRASH, Stage.BUILD, 0.0, reason=told, cause="crash: its node was lost",
                    disturbed=True,
                ),
            )  # fmt: skip
        self._give()

    def failed(self, error: HarnessError) -> None:
        """Stop, once the endings before are stored."""
        self._finisher.submit(self._stop, error)

    def tick(self) -> None:
        """Queue the tasks that are to be run again, before all others."""
        while self._again:
            task, future = self._again.popleft()
            self.schedule.add([self._ticket(task, future)], first=True)
        self._give()

    # --- The tasks ----------------------------------------------------------------------------

    def _ticket(self, task: Task, future: Future[T]) -> int:
        """The ticket of one more attempt at a task."""
        ticket = next(self._numbers)
        self._tasks[ticket] = (task, future)
        return ticket

    def _give(self) -> None:
        """Hand tasks to nodes that have room."""
        if self.error is not None:
            return
        for node, tickets in self.schedule.assignments():
            self._connection.give(node, [self._node_task(ticket) for ticket in tickets])

    def _node_task(self, ticket: int) -> NodeTask:
        task = self._tasks[ticket][0]
        return NodeTask(
            task.target,
            task.argument,
            task.label,
            task.patience,
            task.own_limit,
            task.own_limit_from,
            ticket=ticket,
        )

    def _conclude(self, ticket: int, ending: Ending) -> None:
        task, future = self._tasks.pop(ticket)
        self._finisher.submit(self._call_finish, task, future, ending)

    def _call_finish(self, task: Task, future: Future[T], ending: Ending) -> None:
        if self._futures.conclude(task, future, ending):
            self._again.append((task, future))
        elif self.error is not None:
            self._futures.settle_all()

    def _stop(self, error: HarnessError) -> None:
        self._futures.fail(error)
        self._futures.settle_all()
