"""Tasks: one call in a process of its own, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.contract import HarnessError, Outcome, Stage, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `target` (`module:function`) with `argument`, in a process of its own."""

    target: str
    argument: Any
    label: str
    patience: float = 1.0  # it may take so many times the limit on time

    def on(self, unit: str) -> Task:
        """The same on one of several devices; its argument then has a method `on` too."""
        return replace(self, argument=self.argument.on(unit)) if unit else self


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    `outcome` is None where the target returned, and `value` is what it returned. Otherwise
    `outcome` is `crash`, `timeout` or `oom`, at `stage`, with the reason in one line.
    """

    outcome: Outcome | None
    stage: Stage
    seconds: float
    value: Any = None
    reason: str = ""
    cause: str = ""
    error: str = ""  # traceback, and the end of what the child printed
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None
    refusal: HarnessError | Unavailable | None = None
    before: str = ""  # why it failed in a shared worker, where it was then run again alone


@dataclass(frozen=True, slots=True)
class Standing:
    """A child that is running: what, at which stage, for how many seconds."""

    label: str
    stage: Stage
    seconds: float
