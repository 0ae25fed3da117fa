"""Bisection of a row of candidates, of which the first is good and the last one bad.

A candidate that cannot be judged is passed over, as `git bisect skip` does. Where answers waver,
one good answer proves little: the last good candidate is then asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness.contract import HarnessError


class Standing(StrEnum):
    """The verdict on one candidate."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the question about one candidate.

    Attributes:
        judged: the verdict.
        reason: in one line.
        attempts: how often the candidate was asked in all.
        wavers: whether its answers differed.
    """

    judged: Standing
    reason: str = ""
    attempts: int = 1
    wavers: bool = False


@dataclass(frozen=True, slots=True)
class Boundary:
    """The end of a search: the last good and the first bad candidate, by their numbers.

    Attributes:
        good: of the last good one.
        bad: of the first bad one.
        answers: every answer, by number; those between `good` and `bad` are skipped.
    """

    good: int
    bad: int
    answers: dict[int, Answer]

    @property
    def certain(self) -> bool:
        """Whether no candidate in between was passed over."""
        return self.bad == self.good + 1


def bisect(
    count: int, answers: dict[int, Answer], ask: Callable[[int, int], Answer], attempts: int
) -> Boundary:
    """The boundary between good and bad.

    Args:
        count: of the candidates.
        answers: to the first and the last candidate, by number.
        ask: gives the answer to a candidate, from its number and how often to ask before it counts
            as good.
        attempts: how often to ask where answers waver.

    Raises:
        HarnessError: the first candidate is bad as well, once it is asked again.
    """
    found = dict(answers)
    while True:
        bad = min(n for n, answer in found.items() if answer.judged is Standing.BAD)
        good = max(
            (n for n, answer in found.items() if answer.judged is Standing.GOOD and n < bad),
            default=None,
        )
        if good is None:
            raise HarnessError(
                "expected the good end to be good each time, found that it wavers too: "
                f"{found[0].reason}. Fix: choose a good end further away"
            )
        wavers = any(answer.wavers for answer in found.values())
        times = attempts if wavers else 1
        if found[good].attempts < times:
            found[good] = ask(good, times)
            continue
        left = [n for n in range(good + 1, bad) if n not in found]
        if not left:
            return Boundary(good, bad, found)
        number = min(left, key=lambda n: abs(2 * n - good - bad))
        found[number] = ask(number, times)
