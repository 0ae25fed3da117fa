"""Judgement of a public bug, from a run on the version that has it and one on a version without.

A bug is caught where a cell of its entry fails on the wrong version, the failure names what the bug
is about, and the same failure is not there on the right version. Judged on rows of results alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.contract import Outcome, Verdict


class Sighting(StrEnum):
    """The harness's answer to a public bug."""

    CAUGHT = "caught"
    OTHER_BLAME = "other blame"  # red, but no failure names what the bug is about
    MISSED = "missed"
    NOT_RUN = "not run"  # no cell of the entry, or it is absent from that version


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of a results file, as far as the judgement reads it."""

    entry: str
    head: str
    precision: str
    stage: str
    outcome: str
    verdict: str
    reason: str

    @property
    def failed(self) -> bool:
        """Whether the cell ran and something in it went wrong, expected or not."""
        return self.outcome not in (Outcome.PASS, Outcome.ABSENT)

    @property
    def red(self) -> bool:
        """Whether the failure makes a session red."""
        return self.failed and self.verdict != Verdict.XFAIL

    def names(self, blame: Sequence[str]) -> bool:
        """Whether the reason has one of the words or its plural.

        `beam` is in `generate, beams`, and `causal` is not in `BertForCausalLM`.
        """
        words = "|".join(map(re.escape, blame))
        return re.search(rf"\b(?:{words})s?\b", self.reason, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The sighting of one bug, and by what.

    Attributes:
        sighting: on the wrong version.
        stage: of the failure that counts; empty: there is none.
        reason: of that failure, one line.
        expected: that failure is an expected one, so the session stays green.
        false_alarm: a failure that makes the right version's session red, one line; empty: none.
    """

    sighting: Sighting
    stage: str = ""
    reason: str = ""
    expected: bool = False
    false_alarm: str = ""


def judge(blame: Sequence[str], wrong: Sequence[Row], right: Sequence[Row] | None) -> Judgement:
    """The judgement on one bug.

    Args:
        blame: words, one of which a failure must have to be about this bug.
        wrong: the cells of the entry and its branches on the version that has the bug.
        right: on the version that has it no longer; None: there is no such version.
    """
    alarm = next((f"{row.stage}: {row.reason}" for row in right or () if row.red), "")
    ran = [row for row in wrong if row.outcome != Outcome.ABSENT]
    if not ran or (right is not None and all(row.outcome == Outcome.ABSENT for row in right)):
        return Judgement(Sighting.NOT_RUN, false_alarm=alarm)
    still = {_place(row) for row in right or () if row.failed and row.names(blame)}
    about = [row for row in ran if row.failed and row.names(blame) and _place(row) not in still]
    if about:
        first = min(about, key=lambda row: not row.red)
        return Judgement(Sighting.CAUGHT, first.stage, first.reason, not first.red, alarm)
    other = next((row for row in ran if row.red), None)
    if other is not None:
        return Judgement(Sighting.OTHER_BLAME, other.stage, other.reason, false_alarm=alarm)
    return Judgement(Sighting.MISSED, false_alarm=alarm)


def _place(row: Row) -> tuple[str, str, str, str]:
    return row.entry, row.head, row.precision, row.stage
