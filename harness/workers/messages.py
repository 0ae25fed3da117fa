"""Messages between a child process and its parent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.contract import Stage


@dataclass(frozen=True, slots=True)
class Request:
    """What a process that serves many tasks is to do next; see `serve`."""

    target: str
    argument: Any
    patience: float


@dataclass(frozen=True, slots=True)
class Ready:
    """First message: the process is set up, and its time begins."""

    leads_group: bool


@dataclass(frozen=True, slots=True)
class Entering:
    """The stage that the child enters next."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Usage:
    """What the child used: seconds of CPU, and its peak resident memory."""

    cpu_seconds: float
    peak_rss_mb: float | None


@dataclass(frozen=True, slots=True)
class Returned:
    """Last message: what the target returned."""

    value: Any
    usage: Usage


@dataclass(frozen=True, slots=True)
class Raised:
    """Last message: what escaped from the target."""

    kind: str  # the exception's class name
    message: str
    error: str  # the whole traceback
    cause: str
    usage: Usage
    fix: str = ""  # of an Unavailable
    reason: str = ""  # of an Unavailable
    is_refusal: bool = False  # a HarnessError: what it says is for the user, as it stands


Message = Ready | Entering | Returned | Raised
