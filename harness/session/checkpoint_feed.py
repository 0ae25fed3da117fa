"""Feed of checkpoints: a thread that downloads those of a run in turn, ahead of their cells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.hub import download
from harness.catalog.hub.download import gigabytes
from harness.contract import HarnessError
from harness.session.checkpoint_plan import Planned
from harness.session.pretrained import MINUTE, Pretrained

#: How many checkpoints beyond the first lie in the cache at once, where each is removed again.
AHEAD = 1

#: Seconds that a download is given to stop.
CLOSING = 2.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """An entry's checkpoint once it was tried: its commit and bytes, or the problem that it has."""

    commit: str = ""
    size: int = 0
    problem: str = ""
    too_large: bool = False


class _GivenUp(BaseException):
    """The run ends; no `except Exception` on the way may keep a download from stopping."""


class CheckpointFeed:
    """Downloads checkpoints one after the other, and removes those that were for this run alone.

    Args:
        planned: the checkpoints, in the order of their cells.
        settings: of `--weights pretrained`.
        cache: the folder of the hub's cache.
        clock: a monotonic clock, in seconds.

    Attributes:
        held: entries whose checkpoint is not begun, with the limit that keeps it so.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        settings: Pretrained,
        cache: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held: dict[str, str] = {}
        self._planned = planned
        self._settings = settings
        self._cache = cache
        self._clock = clock
        self._fetched: dict[str, Fetched] = {}
        self._users: dict[str, set[str]] = {}  # repository -> entries that have not ended
        for item in planned:
            self._users.setdefault(item.name, set()).update(item.entries)
        self._in_use: dict[str, Planned] = {}  # repository -> what lies in the cache of it
        self._now = ""
        self._arrived = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._on_held: Callable[[str], None] = lambda _: None
        self._thread = threading.Thread(target=self._run, name="harness-download", daemon=True)

    def start(self, on_held: Callable[[str], None]) -> None:
        """Begin.

        Args:
            on_held: called with each entry that a limit holds back.
        """
        self._on_held = on_held
        self._thread.start()

    def stop(self) -> None:
        """Give up the download that runs; what is complete is kept. Safe to call twice."""
        with self._changed:
            first, self._stopping = not self._stopping, True
            self._changed.notify_all()
        if first and self._thread.is_alive():
            self._thread.join(CLOSING)
        if self._thread.is_alive():  # it waits for a hub that sends nothing
            for item in list(self._in_use.values()):
                if item.repository is not None:
                    download.discard_incomplete(item.repository, self._cache)

    def fetched(self, entry: str) -> Fetched | None:
        """The checkpoint of an entry; None while it is not there yet."""
        with self._changed:
            return self._fetched.get(entry)

    def wait(self, entry: str) -> Fetched:
        """The checkpoint of an entry, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: entry in self._fetched or entry in self.held)
            return self._fetched.get(entry) or Fetched(problem=self.held[entry])

    def ended(self, entry: str) -> None:
        """Say that no cell of an entry needs its checkpoint any more."""
        with self._changed:
            for name, users in self._users.items():
                users.discard(entry)
                item = self._in_use.get(name)
                if not users and item is not None and self._settings.remove:
                    if item.repository is not None:
                        download.give_back(item.repository, self._cache)
                    del self._in_use[name]
            self._changed.notify_all()

    def status(self) -> str:
        """The download that runs, in words; empty where none does."""
        with self._changed:
            return f"{self._now}, {gigabytes(self._arrived)} downloaded" if self._now else ""

    def _run(self) -> None:
        began = self._clock()
        try:
            for item in self._planned:
                limit = self._settings.seconds
                if limit is not None and self._clock() - began >= limit:
                    self._hold(item, f"the {limit / MINUTE:g} minutes of --time-budget are over")
                elif reason := self._no_room(item):
                    self._hold(item, reason)
                else:
                    self._set(item, self._fetch(item))
        except _GivenUp:
            pass

    def _no_room(self, item: Planned) -> str:
        """Wait until a checkpoint fits into `--disk`; why it never will, else nothing."""
        most, remove = self._settings.disk, self._settings.remove

        def fits() -> bool:
            used = sum(other.size for other in self._in_use.values())
            return most is None or used + item.size <= most

        def may_begin() -> bool:
            if self._stopping or not self._in_use:
                return True
            ahead = len(self._in_use) <= AHEAD and not self._lacks_room(item)
            return fits() and (ahead or not remove)

        with self._changed:
            # What is removed once its cells have ended makes room; without that nothing does.
            if most is None or (item.size <= most and (remove or fits())):
                self._changed.wait_for(may_begin)
                self._check()
                return ""
        text = f"{item.name} ({gigabytes(item.size)}) is beyond the {gigabytes(most)} of --disk"
        return text if remove else f"{text}; with --remove-downloads more would fit"

    def _lacks_room(self, item: Planned) -> bool:
        found = item.repository
        return found is not None and download.lacking_room(found, self._cache) is not None

    def _fetch(self, item: Planned) -> Fetched:
        if item.repository is None:
            return Fetched(problem=item.problem, too_large=item.too_large)
        with self._changed:
            self._now, self._arrived = item.name, 0
            self._in_use[item.name] = item
        try:
            if self._settings.remove:
                download.borrow(item.repository, self._cache)
            if item.repository.files:
                download.download(item.repository, self._cache, self._count)
            return Fetched(item.repository.commit, item.size)
        except (HarnessError, OSError) as error:
            return Fetched(problem=str(error))
        except Exception as error:  # a thread that died of it would leave its cells waiting
            return Fetched(problem=f"{type(error).__name__}: {error}")
        finally:
            with self._changed:
                self._now = ""

    def _count(self, arrived: int) -> None:
        self._check()
        self._arrived += arrived

    def _check(self) -> None:
        if self._stopping:
            raise _GivenUp

    def _set(self, item: Planned, found: Fetched) -> None:
        with self._changed:
            self._fetched.update(dict.fromkeys(item.entries, found))
            self._changed.notify_all()

    def _hold(self, item: Planned, reason: str) -> None:
        with self._changed:
            self.held.update(dict.fromkeys(item.entries, reason))
            self._changed.notify_all()
        for entry in item.entries:
            self._on_held(entry)
