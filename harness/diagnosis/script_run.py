"""Run of a script in a process of its own, and whether it shows the failure that it was made of."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.contract import CellFailure, Outcome
from harness.toolkit import fingerprints

#: The exit status of a script while the fault is there.
FAULT = 1

#: Characters of a message that is looked for among others.
TELLING = 12

_ERROR = re.compile(
    r"^relative error (?P<error>\S+), expected at most (?P<limit>\S+)$", re.MULTILINE
)
_FOUND = re.compile(r"^found: ", re.MULTILINE)
_EXCEPTION = re.compile(r"^(?:\w+\.)*(?P<kind>[A-Z]\w*)(?:: (?P<text>.*))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """The end of a script's run.

    Attributes:
        status: its exit status; None where it was killed for its time.
        output: what it printed.
        errors: what it printed as errors.
    """

    status: int | None
    output: str
    errors: str

    def shows(self, failure: CellFailure, margin: float = 0.0) -> bool:
        """Whether the script shows this failure, and no other one.

        Args:
            failure: of the cell.
            margin: how many times its limit a relative error is at least.
        """
        if self.status != FAULT:
            return False
        if failure.outcome is Outcome.TIMEOUT:
            return "found: none" in self.output
        if failure.outcome is Outcome.CRASH:
            return "found: killed by" in self.output
        if _is_comparison(failure):
            told = bool(_FOUND.search(self.output)) and "Traceback" not in self.errors
            return told and (not margin or self._excess >= margin)
        wanted = _without_place(_of_the_error(failure))
        if _cause(self.last_error) == wanted:
            return True
        # A harness may name the root of an error, which an SDK wraps or ends with.
        said = wanted.partition(": ")[2].removesuffix("...")
        lines = self.errors.splitlines() if "Traceback" in self.errors else []
        return len(said) >= TELLING and any(said in fingerprints.normalise(li) for li in lines)

    @property
    def _excess(self) -> float:
        """How many times its limit the relative error is that a script prints; 0 without one."""
        found = _ERROR.search(self.output)
        if found is None:
            return 0.0
        error, limit = float(found["error"]), float(found["limit"])
        return error / limit if math.isfinite(error) and limit else 0.0

    @property
    def last_error(self) -> str:
        """The exception that ended the script, as its traceback ends; empty where there is none."""
        _, traceback, last = self.errors.rpartition("Traceback (most recent call last):\n")
        lines = last.splitlines() if traceback else []
        starts = [i for i, line in enumerate(lines) if line[:1] not in ("", " ")]
        return "\n".join(lines[starts[0] :]).strip() if starts else ""

    @property
    def summary(self) -> str:
        """The end of the run in a line."""
        if self.status is None:
            return "did not end in time"
        said = self.last_error or (self.output.strip().splitlines() or ["nothing"])[-1]
        return f"exit status {self.status}: {said.splitlines()[0] if said else 'nothing'}"


def run(script: Path, seconds: float, variables: Mapping[str, str] | None = None) -> ScriptRun:
    """Run a script apart from this project: `python -I`, in an empty folder.

    Args:
        script: its path.
        seconds: after which it is killed.
        variables: of its environment, beside this process's.
    """
    hidden = {"PYTHONPATH", "HARNESS_BACKEND", "HARNESS_PRELOAD"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(script.resolve())],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
                env={**kept, "HF_HUB_OFFLINE": "1", **(variables or {})},
            )
        except subprocess.TimeoutExpired:
            return ScriptRun(None, "", "")
    return ScriptRun(done.returncode, done.stdout, done.stderr)


def _is_comparison(failure: CellFailure) -> bool:
    """Whether a failure is a comparison's, and no exception of a library."""
    return failure.cause.startswith("CheckFailed") and not _raised_within(failure)


def _raised_within(failure: CellFailure) -> str:
    """The exception of a library that a check repeats in its own words, as in a way of a cache."""
    error = r"(?P<error>[A-Z]\w*(?:Error|Exception|SymNode\w*|Fail)\b.*)"
    found = re.match(rf"generate, [^:]+: {error}", failure.reason)
    found = found or re.match(rf"ExportFailed: \w+: {error}", failure.reason)
    return re.split(r"; [a-z-]+: ", found["error"])[0] if found else ""


def _of_the_error(failure: CellFailure) -> str:
    within = _raised_within(failure)
    return _cause(within) if within else failure.cause


def _cause(error: str) -> str:
    found = _EXCEPTION.match(error)
    if found is None:
        return ""
    return _without_place(fingerprints.fingerprint(found["kind"], found["text"] or "", ()))


def _without_place(cause: str) -> str:
    return cause.partition(" @ ")[0]
