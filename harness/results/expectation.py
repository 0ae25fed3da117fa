"""Expectations as data: one known deviation of a backend, and the cells that it speaks of."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract import CellResult, Outcome, Stage

OWNERS = ("ours", "upstream", "never")


@dataclass(frozen=True, slots=True)
class Failure:
    """How a cell fails and whose fault it is; the same for every entry that the cause blocks."""

    stage: Stage
    outcome: Outcome | None = None  # None: any
    match: str = ""  # empty: any
    owner: str = "ours"
    reason: str = ""
    issue: str = ""

    def fits(self, result: CellResult) -> bool:
        """Whether the result fails at this stage, with this outcome, for this cause."""
        if result.stage is not self.stage:
            return False
        if self.outcome is not None and result.outcome is not self.outcome:
            return False
        return any(self.match in text for text in (result.cause, result.reason, result.error))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which cells of an entry are meant; an empty head or precision means every one."""

    head: str = ""
    precision: str = ""

    @property
    def narrowness(self) -> int:
        """How many of its keys are given: the narrowest scope wins."""
        return bool(self.head) + bool(self.precision)

    def holds(self, head: str, precision: str) -> bool:
        """Whether the cell lies in this scope."""
        return self.head in ("", head) and self.precision in ("", precision)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of one `[[expect]]`."""

    entry: str
    scope: Scope
    failure: Failure
