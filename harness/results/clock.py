"""Order of the runs of one file: by their sequence, with start times that cannot run ahead.

The sequence of a file tells which of its runs came first, whatever the clock said. Between files
only start times can tell. A start time counts as no later than the time of reading, and as no later
than the start of any run that the same file stored afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

#: How far clocks of different machines may lie apart.
TOLERANCE = timedelta(hours=1)

#: Start times before this come from a clock that was never set, as on a board without a battery.
EARLIEST = datetime(2020, 1, 1)


@dataclass(frozen=True, slots=True)
class Start:
    """Start of a run.

    Attributes:
        run_id: of the run.
        sequence: its place in the file.
        claimed: the stored time, UTC without a time zone.
        effective: the time by which the run is ranked; None until `ranked` has found it.
        doubt: why it is not the claimed one; empty where it is.
    """

    run_id: str
    sequence: int
    claimed: datetime
    effective: datetime | None = None
    doubt: str = ""


def ranked(starts: Sequence[Start], now: datetime) -> list[Start]:
    """The starts of one file's runs in the order of their sequence, with their effective times.

    Args:
        starts: in any order.
        now: the time of reading, UTC without a time zone.
    """
    ordered = sorted(starts, key=lambda start: (start.sequence, start.run_id))
    ceiling = now + TOLERANCE
    following = "now"
    found: list[Start] = []
    for start in reversed(ordered):
        if start.claimed < EARLIEST:
            found.append(replace(start, doubt=f"began at {_text(start)}, before {EARLIEST.year}"))
        elif start.claimed > now + TOLERANCE:
            doubt = f"began at {_text(start)}, after now ({now:%Y-%m-%d %H:%M})"
            found.append(replace(start, doubt=doubt))
        elif start.claimed > ceiling + TOLERANCE:
            doubt = f"began at {_text(start)}, after run {following} that followed it"
            found.append(replace(start, effective=ceiling, doubt=doubt))
        else:
            ceiling = min(ceiling, start.claimed)
            following = f"{start.run_id} ({_text(start)})"
            found.append(replace(start, effective=ceiling))
    known = EARLIEST
    for at, start in reversed(list(enumerate(found))):
        known = start.effective or known
        found[at] = replace(start, effective=known)
    return found[::-1]


def _text(start: Start) -> str:
    return f"{start.claimed:%Y-%m-%d %H:%M}"
