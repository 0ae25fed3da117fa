"""Progress line of a run: drawn over itself on a terminal, else a full line now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from harness.contract import CellResult, Outcome
from harness.toolkit.durations import duration
from harness.workers.task import TaskStatus

#: Seconds between two drawings of the live line.
LIVE = 0.2

#: Seconds between two full lines.
FULL = 10.0

#: Seconds between two full lines where another tenth of the cells is done.
FULL_AT_LEAST = 1.0

#: Seconds after which a running cell is named with its stage.
NOTABLE = 5.0


class Terminal(Protocol):
    """The methods of pytest's terminal reporter that the progress line uses."""

    def rewrite(self, line: str, **markup: bool) -> None:
        """Write over the current line."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write a line of its own."""

    def flush(self) -> None:
        """Write out what is buffered."""


class ProgressLine:
    """Counts results, and shows counts, time left and running cells.

    Args:
        terminal: None shows nothing.
        total: number of cells.
        live: whether the terminal can write over a line.
        width: of the terminal, in characters.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        terminal: Terminal | None,
        total: int,
        *,
        live: bool,
        width: int = 80,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._total = total
        self._live = live
        self._width = width
        self._clock = clock
        self._outcomes: Counter[Outcome] = Counter()
        self._began = clock()
        self._drawn = float("-inf")
        self._drawn_done = 0
        self._shown = False

    @property
    def done(self) -> int:
        """How many cells have ended."""
        return self._outcomes.total()

    def add(self, result: CellResult) -> None:
        """Count a cell that has ended."""
        self._outcomes[result.outcome] += 1

    def show(self, running: Sequence[TaskStatus], beside: str = "") -> None:
        """Draw the line, if the last drawing is long enough ago.

        Args:
            running: the cells that are running now.
            beside: of something else that goes on, such as a download.
        """
        if self._terminal is None:
            return
        now = self._clock()
        if self._live:
            if now - self._drawn >= LIVE:
                self._drawn = now
                self._shown = True
                text = self._text(now, running, beside)
                self._terminal.rewrite(text[: self._width - 1], erase=True)
                self._terminal.flush()
            return
        since = now - max(self._drawn, self._began)
        tenth = self.done * 10 // self._total > self._drawn_done * 10 // self._total
        if self.done < self._total and (since >= FULL or (tenth and since >= FULL_AT_LEAST)):
            self._drawn, self._drawn_done = now, self.done
            self._terminal.write_line(self._text(now, running, beside))
            self._terminal.flush()

    def clear(self) -> None:
        """Erase the live line, so that something else can be written."""
        if self._terminal is not None and self._shown:
            self._terminal.rewrite("", erase=True)
            self._terminal.rewrite("")
            self._shown = False

    def _text(self, now: float, running: Sequence[TaskStatus], beside: str = "") -> str:
        counts = " · ".join(f"{self._outcomes[o]} {o}" for o in Outcome if self._outcomes[o])
        share = f"{self.done * 100 // self._total:3}% {self.done}/{self._total}"
        parts = [share, counts, self._left(now), beside, ", ".join(map(_status, running))]
        return "   ".join(part for part in parts if part)

    def _left(self, now: float) -> str:
        elapsed = now - self._began
        if self.done < 5 or elapsed < 2.0:
            return ""
        return f"{duration(elapsed / self.done * (self._total - self.done))} left"


def _status(running: TaskStatus) -> str:
    name = running.label.split("[")[0]
    if running.seconds < NOTABLE:
        return name
    return f"{name} ({running.stage} {duration(running.seconds)})"
