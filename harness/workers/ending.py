"""Ending of a task, told from a child's last message, its exit code and the end of its output."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Any

from harness.contract import CellFailure, HarnessError, Outcome, Stage, Unavailable
from harness.toolkit import fingerprints, printable
from harness.workers.messages import Raised, Returned

#: Exit code of a child that finds its connection to the parent closed by its own code.
CONNECTION_LOST = 83

#: Exit code of a child whose folder is gone before it could begin.
NO_FOLDER = 84

#: Exit codes of a child that something outside has ended: a signal that no fault of its own sends,
#: or the end of its fork server, which `multiprocessing` calls 255.
DISTURBED = frozenset(
    {255, NO_FOLDER, -signal.SIGINT, -signal.SIGTERM}
    | {-getattr(signal, name) for name in ("SIGKILL", "SIGHUP") if hasattr(signal, name)}
)

#: Notes on signals, in the reason of a crash.
_SIGNALS = {
    "SIGSEGV": " (segmentation fault)",
    "SIGABRT": " (abort)",
    "SIGFPE": " (arithmetic exception in native code)",
    "SIGBUS": " (bus error)",
    "SIGILL": " (illegal instruction)",
    "SIGKILL": " from outside (by hand, or by the kernel when memory ran out)",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Ending of a task: the value that its target returned, or its failure.

    `outcome` is None where the target returned. Otherwise `outcome` is `crash`, `timeout` or
    `oom`, at `stage`, with the reason in one line; `failures` are those that the task reported
    before.
    """

    outcome: Outcome | None
    stage: Stage
    seconds: float
    value: Any = None
    reason: str = ""
    cause: str = ""  # the fingerprint of the fault
    error: str = ""  # traceback, and the end of the child's output
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None
    refusal: HarnessError | Unavailable | None = None
    before: str = ""  # the first failure, where the task was then run again alone
    disturbed: bool = False  # whether something outside may be the cause, and not the task
    failures: tuple[CellFailure, ...] = ()


def reported_ending(
    message: Returned | Raised, stage: Stage, seconds: float, output: str
) -> Ending:
    """The ending that the last message of a child reports.

    Args:
        message: the last one.
        stage: of the task.
        seconds: of wall time since the task's start.
        output: the end of what the child printed.
    """
    usage = message.usage
    if isinstance(message, Returned):
        return Ending(
            None,
            stage,
            seconds,
            value=message.value,
            error=_printed(output),
            cpu_seconds=usage.cpu_seconds,
            peak_rss_mb=usage.peak_rss_mb,
        )
    outcome, reason = _outcome(message)
    return Ending(
        outcome,
        stage,
        seconds,
        reason=printable.kept_line(reason),
        cause=printable.kept_line(message.cause),
        error=printable.kept(f"{message.error}\n{_printed(output)}".strip()),
        cpu_seconds=usage.cpu_seconds,
        peak_rss_mb=usage.peak_rss_mb,
        refusal=_refusal(message),
    )


def unreported_ending(
    outcome: Outcome,
    reason: str,
    stage: Stage,
    seconds: float,
    output: str,
    peak_rss_mb: float | None,
) -> Ending:
    """The ending of a child that was killed or died before its last message.

    Args:
        outcome: `crash`, `timeout` or `oom`.
        reason: in one line; the place in faulthandler's stack is added to it.
        stage: of the task.
        seconds: of wall time since the task's start.
        output: the end of what the child printed, with faulthandler's stack.
        peak_rss_mb: as the parent has seen it.
    """
    frames = fingerprints.faulthandler_frames(output)
    place = fingerprints.place(frames)
    # The same timeout under another limit has the same cause.
    timeless = re.sub(r" (?:after|within) [\d.]+ s(?: \(.*\))?$", "", reason)
    return Ending(
        outcome,
        stage,
        seconds,
        reason=f"{reason}, in {place}" if place else reason,
        cause=fingerprints.fingerprint(outcome, timeless, frames),
        error=_printed(output),
        peak_rss_mb=peak_rss_mb,
    )


def exit_reason(code: int | None) -> str:
    """The reason of a crash, from the exit code: negative is a signal, as `Process.exitcode` is."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"killed by {name}{_SIGNALS.get(name, '')}"
    if code == CONNECTION_LOST:
        return (
            "the process closed its connection to the harness: expected a library to close the "
            "file descriptors that it has opened, found that it closes others too"
        )
    if code == NO_FOLDER:
        return "the process found its folder for temporary files removed"
    if code == 255:
        return "the process ended with exit code 255, or its fork server was killed"
    return f"the process left with exit code {code} before its result was complete"


def _outcome(message: Raised) -> tuple[Outcome, str]:
    """Outcome and reason of an exception that escaped from the target."""
    if message.kind == SystemExit.__name__:
        return Outcome.CRASH, f"sys.exit({message.message}) was called"
    out_of_memory = fingerprints.is_out_of_memory(message.kind, message.message)
    line = fingerprints.telling_line(message.message)
    reason = f"{message.kind}: {line}" if line else message.kind
    return Outcome.OOM if out_of_memory else Outcome.CRASH, reason


def _refusal(message: Raised) -> HarnessError | Unavailable | None:
    if message.kind == Unavailable.__name__:
        kept = printable.kept_line
        return Unavailable(kept(message.reason), kept(message.fix))
    return HarnessError(printable.kept(message.message)) if message.is_refusal else None


def _printed(output: str) -> str:
    return f"--- its output ends with ---\n{output.strip()}" if output.strip() else ""
