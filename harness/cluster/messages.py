"""Messages of an agent to the session's process, and the endings of cells in them.

An answer holds what a stranger's model has printed and returned, so that it crosses as data with a
schema (`harness.workers.frames`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.cell.request import DeviceReport
from harness.contract import CellFailure, Outcome, Stage
from harness.workers.ending import Ending
from harness.workers.messages import Returned, Usage


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts of a node that its results follow from (`harness.cluster.facts`)."""

    host: str
    checkout: str  # the folder of the code
    commit: str  # of git, empty where there is none
    code: str  # digest of the harness, the backend and the lists
    lock: str  # digest of the backend's pins
    packages: Mapping[str, str]  # installed versions, by normalized name
    processor: tuple[str, ...]  # model and instruction sets, as `harness.toolkit.machine` has them
    python: str  # version


@dataclass(frozen=True, slots=True)
class Hello:
    """First message: the facts of the node, and its device; without one, the reason and the fix."""

    facts: NodeFacts
    device: DeviceReport | None
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """A cell that starts now, by its ticket."""

    ticket: int


@dataclass(frozen=True, slots=True)
class RunningCell:
    """A cell that runs: its ticket, its stage, and the seconds since its start."""

    ticket: int
    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Running:
    """The cells that run now."""

    cells: tuple[RunningCell, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The ending of a cell, field by field as `harness.workers.ending.Ending` has it."""

    ticket: int
    outcome: Outcome | None
    stage: Stage
    seconds: float
    returned: Returned | None
    reason: str
    cause: str
    error: str
    cpu_seconds: float | None
    peak_rss_mb: float | None
    before: str
    disturbed: bool
    failures: tuple[CellFailure, ...]


@dataclass(frozen=True, slots=True)
class Declined:
    """Last message: why the node cannot run cells, or can no more; for the user as it stands."""

    reason: str


#: The messages of an agent, by the name that stands first in a frame.
MESSAGES: Mapping[str, type] = {
    kind.__name__: kind for kind in (Hello, Began, Running, Ended, Declined)
}


def ended(ticket: int, ending: Ending) -> Ended:
    """The message about a cell that has ended."""
    nothing = ending.outcome is not None
    return Ended(
        ticket,
        ending.outcome,
        ending.stage,
        ending.seconds,
        None if nothing else Returned(ending.value, Usage(0.0, None)),
        ending.reason,
        ending.cause,
        ending.error,
        ending.cpu_seconds,
        ending.peak_rss_mb,
        ending.before,
        ending.disturbed,
        ending.failures,
    )


def ending_of(message: Ended) -> Ending:
    """The ending that a message is about."""
    return Ending(
        message.outcome,
        message.stage,
        message.seconds,
        value=message.returned.value if message.returned is not None else None,
        reason=message.reason,
        cause=message.cause,
        error=message.error,
        cpu_seconds=message.cpu_seconds,
        peak_rss_mb=message.peak_rss_mb,
        before=message.before,
        disturbed=message.disturbed,
        failures=message.failures,
    )
