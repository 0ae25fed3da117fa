"""Trial: one prepare and one inference of a piece, and the journal that outlives a crash.

The child writes into the journal before it tries a piece and after it. Where a backend ends the
process, the parent writes how, and a new child goes on where the last one was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.cell.border import CheckedProgram
from harness.cell.judgement import ON_DEVICE
from harness.contract import Arrays, Backend, Case, Precision
from harness.diagnosis.yardstick import Yardstick, limit_for
from harness.toolkit import fingerprints, numerics, printable

#: How alike two causes must be to be one error, from 0 to 1: the same message of a compiler names
#: other nodes in a part than in the whole.
ALIKE = 0.6


class TrialKind(StrEnum):
    """How a trial ended."""

    RIGHT = "right"
    WRONG = "wrong"  # outputs beyond the noise floor
    RAISES = "raises"  # an exception, a crash or a hang
    ELSEWHERE = "elsewhere"  # right, and not on the device
    UNTESTED = "untested"  # the piece has no reference


@dataclass(frozen=True, slots=True)
class Trial:
    """The ending of one trial.

    Attributes:
        kind: how it ended.
        score: the worst score of an output.
        reason: in one line.
        cause: fingerprint of an exception.
        scores: by output.
        input: on which it fails, where several were tried.
    """

    kind: TrialKind
    score: float = 0.0
    reason: str = ""
    cause: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    input: str = ""

    def like(self, other: Trial) -> bool:
        """Whether both fail in the same way, and this one not much less than the other."""
        if self.kind is not other.kind or self.kind in (TrialKind.RIGHT, TrialKind.UNTESTED):
            return False
        if self.kind is TrialKind.WRONG:
            return self.score > limit_for(other.score)
        if self.kind is TrialKind.ELSEWHERE:
            return True
        matcher = SequenceMatcher(None, self.cause, other.cause, autojunk=False)
        return matcher.ratio() >= ALIKE

    @property
    def line(self) -> str:
        """The ending in words."""
        if self.kind is TrialKind.WRONG:
            return f"wrong (score {self.score:.3g})"
        return f"{self.kind.value}: {self.reason}" if self.reason else self.kind.value


class Journal:
    """Trials by name, in a file of one JSON value a line.

    Args:
        path: of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: dict[str, Trial] = {}
        self.begun = ""  # the trial that has begun and not ended
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def begin(self, name: str) -> None:
        """Note that a trial begins."""
        self._write({"begun": name})
        self.begun = name

    def end(self, name: str, trial: Trial) -> None:
        """Keep a trial."""
        self._write({"name": name, "trial": asdict(trial)})
        self.trials[name], self.begun = trial, ""

    def _write(self, value: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")

    def _take(self, line: str) -> None:
        with suppress(ValueError, KeyError, TypeError):  # a line that a crash cut short
            value = json.loads(line)
            if "begun" in value:
                self.begun = value["begun"]
                return
            told = value["trial"]
            self.trials[value["name"]] = Trial(**{**told, "kind": TrialKind(told["kind"])})
            self.begun = ""


@dataclass(slots=True)
class Trials:
    """Trials of pieces on one backend in one precision, each made once.

    Attributes:
        backend: whose `prepare` is tried.
        precision: to prepare in.
        journal: of the trials so far.
        prepares: how many trials there are in the journal.
        most: how many there may be.
        deadline: on the monotonic clock, after which no trial begins.
    """

    backend: Backend
    precision: Precision
    journal: Journal
    most: int
    deadline: float

    @property
    def prepares(self) -> int:
        """How many trials have been made."""
        return len(self.journal.trials)

    @property
    def over(self) -> bool:
        """Whether no further trial may begin."""
        return self.prepares >= self.most or time.monotonic() > self.deadline

    def known(self, name: str, trial: Callable[[], Trial]) -> Trial:
        """The trial of that name, made now where the journal does not have it."""
        found = self.journal.trials.get(name)
        if found is None:
            self.journal.begin(name)
            found = trial()
            self.journal.end(name, found)
        return found

    def inference(self, case: Case, inputs: Arrays, measure: Callable[[], Yardstick]) -> Trial:
        """One prepare, one inference, and its judgement.

        Args:
            case: the piece.
            inputs: to run it on.
            measure: its yardstick; asked once the program has answered.
        """
        try:
            program = CheckedProgram(self.backend.prepare(case, self.precision), {}, self.precision)
            got = program(inputs)
        except Exception as error:
            return raised(error, case)
        try:
            scores = measure().scores(got)
        except Exception as error:  # what the modeling code raises on such inputs
            return Trial(
                TrialKind.UNTESTED, reason=printable.kept_line(fingerprints.text_of(error))
            )
        worst = max(scores.values(), default=0.0)
        if worst > numerics.LIMIT:
            return Trial(TrialKind.WRONG, worst, scores=scores)
        placement = program.placement()
        if placement.device_share < ON_DEVICE:
            reason = printable.kept_line(placement.evidence)
            return Trial(TrialKind.ELSEWHERE, worst, reason, scores=scores)
        return Trial(TrialKind.RIGHT, worst, scores=scores)


def raised(error: BaseException, case: Case, where: str = "") -> Trial:
    """The trial that ended in an exception."""
    names = (case.entry.name, case.entry.architecture)
    text = fingerprints.telling_line(fingerprints.text_of(error))
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Trial(
        TrialKind.RAISES,
        reason=printable.kept_line(line),
        cause=printable.kept_line(fingerprints.of(error, names)),
        input=where,
    )
