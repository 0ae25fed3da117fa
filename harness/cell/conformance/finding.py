"""Finding: the answer of one point of the contract, for one case."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PointState(enum.StrEnum):
    """Whether a point of the contract holds."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class PointFinding:
    """The answer of one point.

    Attributes:
        state: whether it holds.
        text: what was seen, in one line: expected and found where it is broken, the reason where it
            could not be checked.
    """

    state: PointState
    text: str


class UncheckedError(Exception):
    """A point that cannot be checked on this case; the message says why."""
