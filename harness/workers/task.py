"""Task: one function call that runs in a child process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.contract import Stage
from harness.workers.limits import Limits

#: The value that a pool makes of a task's ending, and that the task's future gives.
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `target` (`module:function`) with `argument`, in a child process."""

    target: str
    argument: Any
    label: str
    patience: float = 1.0  # factor on the limit on time, for precisions that compile for long
    own_limit: float | None = None  # seconds of the first try (`harness.workers.second_tries`)
    own_limit_from: str = ""  # where that limit comes from, in words
    before: str = ""  # how the first try ended, in a line; empty of the first try

    def limits(self, usual: Limits) -> Limits:
        """The limits of this try, from those of all tasks."""
        full = usual.with_patience(self.patience)
        if self.own_limit is None:
            return full
        return replace(full, seconds=min(full.seconds, self.own_limit))

    def in_full(self, before: str) -> Task:
        """The same task with the full limit on time, after a try that ended as `before` says."""
        return replace(self, own_limit=None, own_limit_from="", before=before)

    def on(self, unit: str) -> Task:
        """The same task on one of several devices; its argument then has a method `on` too."""
        return replace(self, argument=self.argument.on(unit)) if unit else self


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Status of a running task: its label, its stage, and the seconds since its start."""

    label: str
    stage: Stage
    seconds: float
