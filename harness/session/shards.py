"""Shards: parts of the entries for several machines, which never lose an entry or run it twice.

Each machine computes the parts alone. So they follow from what all of them have alike: the lists,
the options, and a file of durations where `--durations-file` names one. What a machine has stored
of its earlier runs never counts: the machines of one run have different histories, or none.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from harness.contract import Entry


def parts(entries: Sequence[Entry], seconds: Mapping[str, float], count: int) -> list[list[str]]:
    """The names of the entries of each part, in the order of the lists.

    The longest entry goes to the part with the least to do, and so on. Without any durations each
    part has every `count`-th entry.

    Args:
        entries: to be split, in the order of the lists.
        seconds: of all cells of an entry, by its name. An entry without takes the median of its
            family, else of all.
        count: how many parts.
    """
    if not seconds:
        return [[entry.name for entry in entries[first::count]] for first in range(count)]
    expected = _expected(entries, seconds)
    loads = [0.0] * count
    sizes = [0] * count
    chosen: dict[str, int] = {}
    for place in sorted(range(len(entries)), key=lambda place: -expected[place]):
        part = min(range(count), key=lambda part: (loads[part], sizes[part], part))
        loads[part] += expected[place]
        sizes[part] += 1
        chosen[entries[place].name] = part
    return [
        [entry.name for entry in entries if chosen[entry.name] == part] for part in range(count)
    ]


def _expected(entries: Sequence[Entry], seconds: Mapping[str, float]) -> list[float]:
    known: dict[str, list[float]] = {}
    for entry in entries:
        if entry.name in seconds:
            known.setdefault(entry.family, []).append(seconds[entry.name])
    medians = {family: statistics.median(found) for family, found in known.items()}
    usual = statistics.median(seconds.values())
    return [seconds.get(entry.name, medians.get(entry.family, usual)) for entry in entries]
