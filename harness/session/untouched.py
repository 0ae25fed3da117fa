"""Untouched cells of a run: those that need not run, by stored digests or by git."""

from __future__ import annotations

from collections.abc import Mapping

from harness.catalog.backend_spec import BackendSpec
from harness.catalog.selection import Catalog
from harness.cell.request import Job
from harness.contract import Cell
from harness.results.expectations import Expectations
from harness.results.last_results import LastResult
from harness.session import changed
from harness.session.cell_name import CellName
from harness.session.changed import ResultKeys, Unchanged
from harness.session.changed_since import ChangedSince
from harness.session.git_change import GitChange
from harness.session.options import Options


class Untouched:
    """The cells that `--changed` and `--changed-since` leave out; without either, none.

    Args:
        options: of the run.
        spec: the backend's folder.

    Attributes:
        asked: whether cells are left out at all.

    Raises:
        HarnessError: git knows no such commit here as `--changed-since` names.
    """

    def __init__(self, options: Options, spec: BackendSpec) -> None:
        self._options = options
        self.asked = options.changed or bool(options.changed_since)
        self._change = GitChange(options.changed_since, spec) if options.changed_since else None
        self._unchanged: Unchanged | None = None
        self._since: ChangedSince | None = None

    def open(
        self,
        last: Mapping[CellName, LastResult],
        keys: ResultKeys,
        catalog: Catalog,
        expectations: Expectations,
    ) -> Unchanged:
        """Take in the last results; returns those by digest, which every run counts.

        Args:
            last: by (entry, head, precision).
            keys: of this run.
            catalog: the model lists.
            expectations: by which old results are judged anew.
        """
        self._unchanged = Unchanged(last, keys, expectations)
        if self._change is not None:
            self._since = ChangedSince(self._change, last, self._options, catalog, expectations)
        return self._unchanged

    def leave_out(self, job: Job) -> bool:
        """Whether a cell does not run."""
        by_digest = self._unchanged if self._options.changed else None
        if by_digest is not None and by_digest.leave_out(job.cell, job):
            return True
        return self._since is not None and self._since.leave_out(job.cell)

    def note(self, cell: Cell) -> str:
        """A sentence on a cell that was left out; empty of one that was not."""
        if self._unchanged is not None and cell.id in self._unchanged.left_out:
            return changed.note(self._unchanged.left_out[cell.id])
        if self._since is not None and cell.id in self._since.left_out:
            return self._since.note(cell)
        return ""

    @property
    def count(self) -> int:
        """How many cells were left out."""
        found = (self._unchanged, self._since)
        return sum(len(one.left_out) for one in found if one is not None)

    def summary(self) -> str:
        """A line on all that was left out; empty where nothing was to be."""
        said = []
        if self._unchanged is not None and self._unchanged.left_out:
            said.append(changed.left_out_line(self._unchanged))
        if self._since is not None:
            said.append(self._since.summary())
        return "; ".join(said)
