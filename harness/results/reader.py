"""Reader of results files from anywhere: it starts the screening process and takes its answers.

What crashes, hangs or eats memory while it is read takes down that process, and costs one file.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.contract import Outcome, Stage, Verdict
from harness.results.schema import SCHEMA_VERSION
from harness.toolkit import typed_commands
from harness.toolkit.checkout import own_environment

#: CPU seconds for a small file: far more than it takes.
SECONDS = 5

#: Signals by which a file ends its reader: a crash of DuckDB, or the limit on CPU time.
_OWN_DOING = {
    getattr(signal, name, 0)
    for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGXCPU")
} - {0}

#: The names that the screening process is told.
_NAMES = {"stages": list(Stage), "outcomes": list(Outcome), "verdicts": list(Verdict)}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A results file, or rows of one, that are left out: what was found, and what to do."""

    path: Path
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found} Fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Reading of one file.

    Attributes:
        kind: why it cannot be used: `schema`, `structure`, `locked`, `forbidden`, `irregular` (no
            plain file), `damaged`, `interrupted` (nothing is known); empty where it can.
        text: of the reason, in the words of whoever found it.
        problems: the rows that were left out, as `harness.results.screening` names them.
    """

    kind: str = ""
    text: str = ""
    problems: tuple[Mapping[str, Any], ...] = field(default=())


class Reader:
    """The screening process, started when it is first needed. Use it as a context manager.

    Args:
        seconds: CPU seconds for each file, besides those that its size gives it.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def read(
        self,
        path: Path,
        clean: Path | None,
        now: datetime | None = None,
        runs: Collection[str] | None = None,
        *,
        history: bool = False,
    ) -> Reading:
        """Screen one file.

        Args:
            path: of the file.
            clean: where its clean copy goes, a file that does not exist; None: the file is only
                read from end to end.
            now: the time of reading, UTC without a time zone.
            runs: ids of the runs whose cells count; None: all runs.
            history: whether the clean copy gets the tables of `harness.results.history_tables` too.
        """
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                with path.open("rb"):
                    pass
        except FileNotFoundError:
            return Reading("irregular", "none, or a link to none")
        except OSError as error:
            return Reading("forbidden", error.strerror or str(error))
        if not stat.S_ISREG(mode):
            return Reading("irregular", _kind_of_file(mode))
        moment = now or datetime.now(UTC).replace(tzinfo=None)
        request = {
            "path": str(path.absolute()),
            "clean": str(clean.absolute()) if clean is not None else "",
            "now": moment.isoformat(),
            "seconds": self._seconds,
            "runs": None if runs is None else sorted(runs),
            "history": history,
        }
        answer = self._ask(json.dumps(request))
        if isinstance(answer, Reading):
            return answer
        if "kind" not in answer:
            return Reading(problems=tuple(answer["problems"]))
        kind, text = str(answer["kind"]), str(answer["text"])
        return Reading(_unreadable(text) if kind == "unreadable" else kind, text)

    def _ask(self, request: str) -> dict[str, Any] | Reading:
        """The answer of the process, or what its end says of the file."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.results.screening"],
                env=own_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, encoding="utf-8",
            )  # fmt: skip
            request = f"{json.dumps(_NAMES)}\n{request}"
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            return self._ended(process)
        return answer

    def _ended(self, process: subprocess.Popen[str]) -> Reading:
        """The reading of a file at which the process ended: the file's doing, or not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        status = process.poll()
        self._end()
        if status is not None and -status in _OWN_DOING:
            name = signal.Signals(-status).name
            return Reading("damaged", f"reading it ended with {name}: a crash, or too much work")
        return Reading("interrupted", f"its reader was ended from outside (status {status})")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not read there
                    if pipe is not None:
                        pipe.close()
            process.wait()


def explained(path: Path, reading: Reading) -> LeftOut:
    """The reason why a whole file is left out, in the reader's words rather than DuckDB's."""
    text = reading.text
    away = f"python -m harness set-aside {shlex.quote(str(path))}"
    session = path.name.split(".")[0]  # a shard's file is <session>.1-of-4.duckdb
    again = f"{away}, and run its session again"
    if re.fullmatch(r"\w[\w-]*", session):
        again = f"{away} && {typed_commands.session(session)}"
    if reading.kind == "schema":
        expected = f"expected results of schema {SCHEMA_VERSION}, found {text}."
        newer = re.fullmatch(r"schema (\d+)", text)
        if newer and int(newer[1]) > SCHEMA_VERSION:
            return LeftOut(path, f"{expected} A newer harness wrote it.", "git pull")
        return LeftOut(path, f"{expected} An older harness wrote it, or another program.", again)
    if reading.kind == "structure":
        expected = f"expected results of schema {SCHEMA_VERSION}, found {text}."
        return LeftOut(path, f"{expected} No harness writes such a file.", away)
    if reading.kind == "locked":
        return LeftOut(
            path,
            f"open in {holder(text)}: its session is still writing.",
            f"wait until the session has ended, then {typed_commands.report()}",
        )
    if reading.kind == "forbidden":
        return LeftOut(path, f"it cannot be read: {text}.", f"chmod u+r {shlex.quote(str(path))}")
    if reading.kind == "irregular":
        return LeftOut(
            path, f"expected a file, found {text}.", f"move {shlex.quote(str(path))} elsewhere"
        )
    if reading.kind == "interrupted":
        return LeftOut(path, f"{text}.", f"{typed_commands.report()}, once more")
    if "version number" in text:
        return LeftOut(path, f"another DuckDB wrote it: {text}", "pip install --upgrade duckdb")
    return LeftOut(path, f"truncated, damaged or no DuckDB file: {text.rstrip('.')}.", again)


def rows_left_out(path: Path, problem: Mapping[str, Any]) -> LeftOut:
    """The message for rows of a file that are left out, or whose time is doubted."""
    if problem["table"] == "clock":
        return LeftOut(
            path,
            f"{problem['where']} {problem['found']}: a clock was wrong. It ranks below every run "
            "that followed it.",
            "set the clock of its machine, and run it again",
        )
    return LeftOut(
        path,
        f"{problem['count']} of {problem['of']} rows of {problem['table']} left out: expected "
        f"{problem['column']} to be {problem['expected']}, found {problem['found']} "
        f"({problem['where']}).",
        "run these cells again, or have them run again by whoever sent the file",
    )


def holder(text: str) -> str:
    """The process that DuckDB names as the holder of a lock."""
    found = re.search(r"PID (\d+)", text)
    return f"process {found[1]}" if found else "another process"


def is_locked(text: str) -> bool:
    """Whether an error of DuckDB says that another process has the file open."""
    return "Could not set lock" in text or "being used by another process" in text


def _unreadable(text: str) -> str:
    if is_locked(text):
        return "locked"
    return "forbidden" if "Permission denied" in text else "damaged"


def _kind_of_file(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
