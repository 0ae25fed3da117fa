"""Second tries: a task that its own, shorter limit on time has ended has the full limit once more.

A slow machine so makes no cell red that it would not make red anyway. A hang that was confirmed so
need not be confirmed for each of a thousand cells: one that ends at the same place of the same
stage is believed, as long as no second try has shown that the shorter limits were too short.
"""

from __future__ import annotations

from harness.contract import Outcome
from harness.workers.ending import Ending
from harness.workers.failure_scope import failure_line
from harness.workers.task import Task

#: Stands in the fingerprint of a fault before the place in the code, where that is known.
PLACE = " @ "


class SecondTries:
    """The tasks of one pool that get a second try, and the hangs that were confirmed by one."""

    def __init__(self) -> None:
        self._confirmed: set[str] = set()  # causes
        self._too_short = False  # whether a second try has ended within the full limit

    def of(self, task: Task, ending: Ending) -> Task | None:
        """The task of the second try; None where the ending counts as it is.

        Args:
            task: that has ended, with the limits that it had.
            ending: of this try.
        """
        hung = ending.outcome is Outcome.TIMEOUT
        if task.own_limit is None:
            if task.before:
                self._learn(ending.cause if hung else None)
            return None
        if not hung or (ending.cause in self._confirmed and not self._too_short):
            return None
        return task.in_full(failure_line(ending))

    def _learn(self, cause: str | None) -> None:
        """Take in how a second try has ended: by a hang of this cause, or otherwise."""
        if cause is None:
            self._too_short = True
        elif PLACE in cause:
            self._confirmed.add(cause)
