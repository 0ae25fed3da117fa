"""Futures of the tasks of a pool, and their values from the endings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic

from harness.workers.ending import Ending
from harness.workers.task import T, Task


class TaskFutures(Generic[T]):
    """Futures of tasks that `finish` gives their values, in one thread, one after the other.

    Args:
        finish: turns a task and its ending into the future's value; an exception of it is the
            future's, and that of all.
        repeat: whether a task is to be run again, from the value that `finish` has given; None: no
            task is.

    Attributes:
        error: the exception after which no further ending counts; None while they do.
    """

    def __init__(
        self,
        finish: Callable[[Task, Ending], T],
        repeat: Callable[[Task, T], bool] | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self._finish = finish
        self._repeat = repeat
        self._futures: list[Future[T]] = []
        self._values: dict[Future[T], T] = {}  # so far, of tasks that are run again

    def new(self) -> Future[T]:
        """The future of one more task."""
        future = Future[T]()
        self._futures.append(future)
        return future

    def conclude(self, task: Task, future: Future[T], ending: Ending) -> bool:
        """Give a future its value from an ending.

        Returns:
            Whether the task is to be run again instead.
        """
        if self.error is not None:
            self.settle(future)
        if future.done():
            return False
        try:
            value = self._finish(task, ending)
            again = self._repeat is not None and self._repeat(task, value)
        except BaseException as error:
            self.error = error
            future.set_exception(error)
            return False
        self._values[future] = value
        if not again:
            future.set_result(value)
        return again

    def fail(self, error: BaseException) -> None:
        """Let no further ending count, because of this error or of an earlier one."""
        self.error = self.error or error

    def has_value(self, future: Future[T]) -> bool:
        """Whether a first ending of a future's task has given it a value, be it not the last."""
        return future in self._values

    def settle(self, future: Future[T]) -> None:
        """Close a future: with its value so far where its task was to be run again."""
        if future in self._values and not future.done():
            future.set_result(self._values[future])
        else:
            future.cancel()

    def settle_all(self) -> None:
        """Close the futures of all tasks that have no result."""
        for future in list(self._futures):
            self.settle(future)
