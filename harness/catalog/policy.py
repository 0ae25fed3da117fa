"""Policy of real weights: the share of each priority's entries that is run with its checkpoint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from harness.contract import Entry, Priority

#: Target share of the entries of each priority.
TARGETS: Mapping[Priority, float] = {"critical": 1.0, "high": 0.5, "medium": 0.25}


def target(priority: Priority, entries: Sequence[Entry]) -> int:
    """How many entries of a priority the policy wants.

    Args:
        priority: one of `TARGETS`.
        entries: all of the lists.
    """
    return math.ceil(TARGETS[priority] * sum(entry.priority == priority for entry in entries))


def chosen(entries: Sequence[Entry]) -> list[Entry]:
    """The entries of the policy, in the order of the lists.

    Of each priority, those with a checkpoint are sorted by the SHA-256 of their names, and the
    first ones taken. So everyone takes the same, of all families alike; a new entry moves one.

    Args:
        entries: all of the lists.
    """
    names = {
        entry.name
        for priority in TARGETS
        for entry in _drawn(entries, priority)[: target(priority, entries)]
    }
    return [entry for entry in entries if entry.name in names]


def _drawn(entries: Iterable[Entry], priority: Priority) -> list[Entry]:
    able = [entry for entry in entries if entry.priority == priority and entry.checkpoint]
    return sorted(able, key=lambda entry: hashlib.sha256(entry.name.encode()).digest())
