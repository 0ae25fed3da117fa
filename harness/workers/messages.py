"""Messages between a child process and its parent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.contract import CellFailure, Stage


@dataclass(frozen=True, slots=True)
class Request:
    """The next task of a shared worker (`harness.workers.child.serve`)."""

    target: str
    argument: Any
    patience: float


@dataclass(frozen=True, slots=True)
class Ready:
    """First message: the process is set up, and its time begins."""

    leads_group: bool  # whether the child is the leader of its process group


@dataclass(frozen=True, slots=True)
class Entering:
    """The stage that the child enters next, or is in, and the failures of the cell so far."""

    stage: Stage
    failures: tuple[CellFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that one task used: seconds of CPU, and peak resident memory in MB."""

    cpu_seconds: float
    peak_rss_mb: float | None


@dataclass(frozen=True, slots=True)
class Returned:
    """Last message: the value that the target returned."""

    value: Any
    usage: Usage


@dataclass(frozen=True, slots=True)
class Raised:
    """Last message: the exception that escaped from the target."""

    kind: str  # the exception's class name
    message: str
    error: str  # the whole traceback
    cause: str  # the fingerprint of the fault
    usage: Usage
    fix: str = ""  # of an Unavailable
    reason: str = ""  # of an Unavailable
    is_refusal: bool = False  # a HarnessError: its message is for the user, as it stands


Message = Ready | Entering | Returned | Raised
