"""Task: one function call that runs in a child process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.contract import Stage

#: The value that a pool makes of a task's ending, and that the task's future gives.
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `target` (`module:function`) with `argument`, in a child process."""

    target: str
    argument: Any
    label: str
    patience: float = 1.0  # factor on the limit on time, for precisions that compile for long

    def on(self, unit: str) -> Task:
        """The same task on one of several devices; its argument then has a method `on` too."""
        return replace(self, argument=self.argument.on(unit)) if unit else self


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Status of a running task: its label, its stage, and the seconds since its start."""

    label: str
    stage: Stage
    seconds: float
