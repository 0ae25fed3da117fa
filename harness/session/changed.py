"""Cells whose result follows from nothing that has changed since: `--changed` leaves them out.

The key of a result holds the request (row, seed, options, recorded signature), pins, device,
driver, machine, and the digests of the files that the cell's process has used: modules that it
imported, tables that it read, the backend's folder, the library's code of the model. Each run that
leaves nothing out counts how often a result with the same key came out otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import GREEN, Cell, CellResult, Device, Outcome
from harness.results.expectations import Expectations
from harness.results.last_results import LastResult, ResultKey
from harness.session.cell_name import CellName, name_of
from harness.session.provenance import lock_of
from harness.toolkit import cache
from harness.toolkit.machine import machine as this_machine
from harness.toolkit.source_files import SourceFiles

#: Outcomes that hang on time or memory of the day: such a cell runs again.
OF_THE_DAY = frozenset({Outcome.TIMEOUT, Outcome.OOM, Outcome.CRASH, Outcome.FLAKY})


class ResultKeys:
    """Keys of the results of one run.

    Args:
        spec: the backend's folder.
        device: the one that it runs on.
        machine: the one that it runs on, as `harness.toolkit.machine` has it; None for this one.
    """

    def __init__(
        self, spec: BackendSpec, device: Device, machine: Mapping[str, object] | None = None
    ) -> None:
        self._since = time.time()
        self._files = SourceFiles(spec.folder)
        self._code: dict[tuple[str, ...], str | None] = {}
        self._requests: dict[str, str] = {}  # digests, by the cell's id
        self._fixed = cache.key(
            lock=lock_of(spec),
            device={**asdict(device), "units": len(device.units)},
            machine=this_machine() if machine is None else machine,
        )

    def key(self, job: Job, files: Iterable[str]) -> ResultKey | None:
        """The key of a result; None where a file has changed since this run began.

        Args:
            job: the request.
            files: that the result follows from, by label.
        """
        labels = tuple(files)
        code = self._code_digest(labels)
        if not labels or code is None:
            return None
        return ResultKey(
            cache.key(request=self._request(job), code=code, fixed=self._fixed), labels
        )

    def _request(self, job: Job) -> str:
        """Digest of a request, without what says nothing of its result."""
        if job.cell.id not in self._requests:
            told = replace(job, backends_dir=Path(), memory_mb=0, audited=False)
            self._requests[job.cell.id] = cache.key(request=repr(told))
        return self._requests[job.cell.id]

    def _code_digest(self, labels: tuple[str, ...]) -> str | None:
        if labels not in self._code:
            late = any(self._files.changed_at(label) > self._since for label in labels)
            self._code[labels] = None if late else self._files.together(labels)
        return self._code[labels]


class Unchanged:
    """The last results of a backend's cells, and which of them still hold.

    Args:
        last: results by (entry, head, precision).
        keys: of this run.
        expectations: by which old results are judged anew.

    Attributes:
        left_out: results of cells that do not run, since nothing has changed, by the cell's id.
        otherwise: the cells that came out otherwise although nothing had changed, by their ids.
        held: how many came out as before.
    """

    def __init__(
        self,
        last: Mapping[CellName, LastResult],
        keys: ResultKeys,
        expectations: Expectations,
    ) -> None:
        self._last = last
        self._keys = keys
        self._expectations = expectations
        self.left_out: dict[str, LastResult] = {}
        self.otherwise: list[str] = []
        self.held = 0

    def leave_out(self, cell: Cell, job: Job) -> bool:
        """Whether a cell need not run: its last result is green, and would come again."""
        last = self._same(cell, job)
        if last is None or last.result.outcome in OF_THE_DAY:
            return False
        last.result.verdict = self._expectations.judge(last.result, None)
        if last.result.verdict not in GREEN:
            return False
        self.left_out[cell.id] = last
        return True

    def compare(self, job: Job, result: CellResult) -> None:
        """Count a cell that ran although nothing had changed: as before, or otherwise."""
        last = self._same(job.cell, job)
        if last is None or last.result.outcome in OF_THE_DAY:
            return
        before, now = last.result, result
        if (before.outcome, before.cause) == (now.outcome, now.cause):
            self.held += 1
        else:
            self.otherwise.append(job.cell.id)

    def _same(self, cell: Cell, job: Job) -> LastResult | None:
        """The last result of a cell, where its key is that of a result of now."""
        last = self._last.get(name_of(cell))
        if last is None or last.key is None:
            return None
        now = self._keys.key(job, last.key.files)
        return last if now is not None and now.digest == last.key.digest else None


#: How many cells that came out otherwise are named.
NAMED = 5


def false_green(found: Unchanged) -> str:
    """A sentence on the cells that `--changed` would have left out; empty where there were none."""
    count = found.held + len(found.otherwise)
    cells = f"{count} cell{'s' if count > 1 else ''} that --changed would have left out"
    if not found.otherwise:
        return f"{cells} came out as before" if count else ""
    listed = ", ".join(found.otherwise[:NAMED])
    more = len(found.otherwise) - NAMED
    return (
        f"NOTE: of {cells}, {len(found.otherwise)} came out otherwise: {listed}"
        f"{f' and {more} more' if more > 0 else ''}. Fix: look for what their key in {__name__} "
        "lacks; until then, run without --changed"
    )


def left_out_line(found: Unchanged) -> str:
    """A sentence on the cells that were left out."""
    count = len(found.left_out)
    cells = f"{count} cell{'s' if count > 1 else ''}"
    return f"{cells} unchanged, not run: their last results still hold"


def note(last: LastResult) -> str:
    """A sentence on a cell that was left out: not run, its last result and how old that is."""
    hours = (datetime.now(UTC) - last.since).total_seconds() / 3600
    age = f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
    return f"unchanged, not run: its result of {age} ago, {last.result.outcome}, still holds"
