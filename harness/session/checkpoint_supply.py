"""Supply of checkpoints from the hub: a run's are planned, downloaded ahead, and given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from harness.contract import Cell
from harness.results import checkpoints_done
from harness.session import checkpoint_plan
from harness.session.cell_name import name_of
from harness.session.checkpoint_feed import CheckpointFeed, Fetched
from harness.session.checkpoint_plan import Planned
from harness.session.options import Options


class CheckpointSupply:
    """The checkpoints of one run; without `--weights pretrained` there are none.

    Args:
        options: of the run.

    Attributes:
        planned: the checkpoints, once `plan` has asked for them.
        done_before: cells of the policy that are left out, since they have run with these pins.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.planned: Sequence[Planned] = ()
        self.done_before: list[Cell] = []
        self._feed: CheckpointFeed | None = None
        self._begun = False  # by `wait`
        self._left: dict[str, int] = {}  # entry -> cells that still need its checkpoint

    def plan(self, cells: Sequence[Cell], results: Path, lock: str) -> list[Cell]:
        """The cells to run, in their order: as given, or by the size of their checkpoints.

        With `--policy`, cells that have run with their checkpoint and these pins are left out.

        Args:
            cells: that are selected.
            results: the results file.
            lock: SHA-256 of the pins.

        Raises:
            HubUnreachable: the hub does not answer.
            HarnessError: this environment lacks `huggingface_hub`.
        """
        settings = self._options.pretrained
        if settings is None:
            return list(cells)
        cache = checkpoint_plan.cache_folder()
        if settings.policy:
            done = checkpoints_done.cells_done(results, lock)
            self.done_before = [cell for cell in cells if name_of(cell) in done]
            cells = [cell for cell in cells if name_of(cell) not in done]
        entries = {cell.entry.name: cell.entry for cell in cells}.values()
        memory = self._options.limits.memory_mb
        self.planned = checkpoint_plan.plan(entries, settings, cache, memory)
        self._feed = CheckpointFeed(self.planned, settings, cache)
        order = checkpoint_plan.entry_order(self.planned)
        return sorted(cells, key=lambda cell: order[cell.entry.name])

    @property
    def wanted(self) -> bool:
        """Whether cells wait for checkpoints."""
        return self._feed is not None

    def size(self, entry: str) -> int:
        """Bytes of an entry's checkpoint."""
        return next(item.size for item in self.planned if entry in item.entries)

    def start(self, futures: Mapping[str, Sequence[Future[Any]]]) -> None:
        """Begin to download.

        Args:
            futures: of the cells of each entry, which are cancelled where a limit holds it back.
        """
        if self._feed is None:
            return
        self._left = {name: len(found) for name, found in futures.items()}

        def cancel(entry: str) -> None:
            for future in futures.get(entry, ()):
                future.cancel()

        self._feed.start(cancel)

    def fetched(self, entry: str) -> Fetched | None:
        """The checkpoint of an entry; None while it is not there yet."""
        return self._feed.fetched(entry) if self._feed is not None else None

    def wait(self, entry: str) -> Fetched:
        """The checkpoint of an entry, once it is there; the first call begins the download.

        Raises:
            RuntimeError: nothing was planned.
        """
        if self._feed is None:
            raise RuntimeError("`plan` comes first, with --weights pretrained")
        if not self._begun:
            self._begun = True
            self._feed.start(lambda _: None)
        return self._feed.wait(entry)

    def cell_ended(self, entry: str) -> None:
        """Count a cell that needs its checkpoint no more: the last one of an entry frees it."""
        if self._feed is None:
            return
        self._left[entry] -= 1
        if not self._left[entry]:
            self._feed.ended(entry)

    def held(self, entry: str) -> str:
        """The limit that keeps an entry's checkpoint from being begun; empty without one."""
        return self._feed.held.get(entry, "") if self._feed is not None else ""

    def status(self) -> str:
        """The download that runs, in words; empty where none does."""
        return self._feed.status() if self._feed is not None else ""

    def stop(self) -> None:
        """Give up the download that runs; what is complete is kept. Safe to call twice."""
        if self._feed is not None:
            self._feed.stop()
