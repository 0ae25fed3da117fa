"""Requests of a run's cells to their child processes."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import Cell
from harness.models.recorded import record
from harness.session import checkpoint_plan
from harness.session.checkpoint_feed import Fetched
from harness.session.options import Options
from harness.toolkit import signature

#: Of how many cells in a hundred kept references are computed again, and must be alike.
AUDITED_PERCENT = 2


class Jobs:
    """The request of each cell of a run, by the cell's id, once it was made.

    Args:
        spec: the backend's folder.
        options: of the run.
        run_id: the key of the run in its results.
        own: the entries that are not of this project's lists, by name.
        promised: the entries that the backend promises results of; None: all.
    """

    def __init__(
        self,
        spec: BackendSpec,
        options: Options,
        run_id: str,
        own: Collection[str],
        promised: Collection[str] | None,
    ) -> None:
        self._spec = spec
        self._options = options
        self._run_id = run_id
        self._own = own
        self._promised = promised
        self._made: dict[str, Job] = {}
        self.snapshot: Mapping[str, signature.Signature] = {}
        self.recorded: Mapping[str, Sequence[str]] = {}

    def load(self) -> None:
        """Read the recorded signatures and checkpoints."""
        self.snapshot = signature.load(signature.SNAPSHOT) if self._spec.snapshot else {}
        self.recorded = record.load() if self._spec.checkpoints else {}

    def __getitem__(self, cell_id: str) -> Job:
        return self._made[cell_id]

    def make(self, cell: Cell, fallback: str) -> Job:
        """The request to a child process that runs a cell.

        Args:
            cell: the cell.
            fallback: the stand-in for a missing device; empty where there is none.
        """
        options, spec = self._options, self._spec
        recorded = self.snapshot.get(cell.label, "")
        settings = options.pretrained
        held = (
            options.size == "tiny"
            and options.checkpoints is None  # whose sizes are the recorded ones
            and settings is None
            and (self._promised is None or cell.entry.name in self._promised)
        )
        # The recorded ones are those of the pins.
        recorded_here = held and cell.entry.name not in self._own and not options.instead
        # A library reads a checkpoint in the same way whatever it computes in afterwards.
        reads = held and cell.precision == "default"
        job = Job(
            cell=cell,
            seed=options.seed,
            size=options.size,
            memory_mb=options.limits.memory_mb,
            checks=options.checks,
            checkpoints=options.checkpoints if settings is None else checkpoint_plan.cache_folder(),
            trusted=settings is not None and settings.trusted,
            audited=audited(self._run_id, cell),
            measured=options.measure,
            backends_dir=spec.folder.parent,
            options={
                name: value
                for name, value in options.backend_options.items()
                # A device that is there, and fails later, is not to be stood in for.
                if name != "fallback" or fallback
            },
            expected_signature=str(recorded) if recorded_here and spec.snapshot else None,
            checks_library=reads and spec.checkpoints,
            recorded_checkpoints=tuple(self.recorded.get(cell.label, ())) if reads else (),
        )
        self._made[cell.id] = job
        return job

    def supplied(self, cell_id: str, found: Fetched) -> Job:
        """The request of a cell, with its checkpoint or the reason why there is none."""
        self._made[cell_id] = replace(
            self._made[cell_id],
            revision=found.commit,
            unfetched=found.problem,
            too_large=found.too_large,
        )
        return self._made[cell_id]


def audited(run_id: str, cell: Cell) -> bool:
    """Whether a run computes a cell's kept references again: others in each run."""
    return zlib.crc32(f"{run_id} {cell.id}".encode()) % 100 < AUDITED_PERCENT
