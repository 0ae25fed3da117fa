"""Cells that a change touches, by git: `--changed-since REV` leaves out the others.

The files that a cell's process used stand with its last result. A cell is left out where none of
them differs from the commit at which this branch and REV part, nor its row, what is recorded of it,
the pins and the backend's folder, and where its last result is green.

Its list of files is believed where it is of the same options, pins and harness, and where none of
its files differs between the commit of its run and the one at which the branches part: what a
process imports follows from what it has imported. Where that does not hold, or is not known, the
cell is left out only if no file has changed that any cell of the backend could use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from harness.catalog import model_lists
from harness.catalog.selection import Catalog
from harness.contract import GREEN, Cell, Entry, HarnessError
from harness.models.recorded import record
from harness.results.expectations import Expectations
from harness.results.last_results import LastResult, Origin
from harness.session.cell_name import CellName, name_of
from harness.session.changed import OF_THE_DAY
from harness.session.git_change import GitChange
from harness.session.options import PASSED_ON, PASSED_ON_LISTS, Options
from harness.session.provenance import is_same_harness, lock_of
from harness.toolkit import signature

#: Options of a session by which its cells use other files, or come out otherwise.
TELLING = ("checks", "checkpoints", "weights", "measure", *PASSED_ON, *PASSED_ON_LISTS)


class ChangedSince:
    """The cells that a change does not touch.

    Args:
        change: the files that differ.
        last: the last results, by (entry, head, precision).
        options: of the run.
        catalog: the model lists.
        expectations: by which old results are judged anew.

    Attributes:
        left_out: results of cells that do not run, by the cell's id.
        unknown: how many cells run since no list of files of theirs can be believed.
    """

    def __init__(
        self,
        change: GitChange,
        last: Mapping[CellName, LastResult],
        options: Options,
        catalog: Catalog,
        expectations: Expectations,
    ) -> None:
        self._change = change
        self._last = last
        self._options = options
        self._catalog = catalog
        self._expectations = expectations
        self._lock = lock_of(change.spec, options.instead)
        self._telling = telling(options.arguments)
        self._rows_before = _Rows(change, options)
        self.left_out: dict[str, LastResult] = {}
        self.unknown = 0

    def leave_out(self, cell: Cell) -> bool:
        """Whether a cell need not run."""
        last = self._last.get(name_of(cell))
        if last is None or last.key is None or not last.key.files:
            self.unknown += 1
            return False
        if self._is_touched(cell, frozenset(last.key.files)):
            return False
        last.result.verdict = self._expectations.judge(last.result, None)
        if last.result.verdict not in GREEN or last.result.outcome in OF_THE_DAY:
            return False
        if not self._is_believed(cell.entry, frozenset(last.key.files), last.origin):
            self.unknown += 1
            return False
        self.left_out[cell.id] = last
        return True

    def _is_touched(self, cell: Cell, files: frozenset[str]) -> bool:
        """Whether the change is one of the cell's, of all cells, or of what git does not see."""
        change = self._change
        return (
            change.is_of_all
            or not change.answers_for(self._catalog.files[cell.entry.name])
            or not files.isdisjoint(change.labels)
            or not change.knows(files)
            or self._rows_before.differ(cell)
        )

    def _is_believed(self, entry: Entry, files: frozenset[str], origin: Origin) -> bool:
        """Whether a list of files would be the same at the commit where the branches part."""
        if telling(origin.arguments) != self._telling or origin.seed != self._options.seed:
            return False
        if not (self._change.sees_harness or is_same_harness(origin.commit, origin.versions)):
            return False
        if not self._change.labels:
            return True
        before = self._change.before(origin.commit)
        if before is None or origin.lock != self._lock:
            return False
        if not files.isdisjoint(self._change.labels_of(before)):
            return False
        return self._catalog.files[entry.name] not in before

    def note(self, cell: Cell) -> str:
        """A sentence on a cell that was left out."""
        last = self.left_out[cell.id].result
        return (
            f"not run: nothing that it uses has changed since {self._change.shown}; its last "
            f"result was {last.outcome}"
        )

    def summary(self) -> str:
        """A sentence on all cells that were left out, and on those that run for want of a list."""
        count = len(self.left_out)
        said = (
            f"{count} cell{'s' if count != 1 else ''} not run: nothing that "
            f"{'they use' if count != 1 else 'it uses'} has changed since {self._change.shown}"
        )
        if self.unknown:
            said += (
                f"; {self.unknown} ran for want of a list of their files that holds for this change"
            )
        return said


#: Records of cells at a commit, and those of now, by the labels of the cells.
_Recorded: TypeAlias = tuple[Mapping[str, object], Mapping[str, object]]


class _Rows:
    """Rows of the model lists, and what is recorded of cells, at the commit of the change's base.

    Where the lists of then cannot be read by the reader of now, every row counts as changed.
    """

    def __init__(self, change: GitChange, options: Options) -> None:
        self._change = change
        self._paths = options.lists.paths
        self._entries: Mapping[str, Entry] | None = None  # of then, where a list has changed
        self._recorded: list[_Recorded] = []
        self._unreadable = False
        try:
            if any(change.touches(path) for path in self._paths):
                self._entries = self._read_entries()
            if change.spec.snapshot and change.touches(signature.SNAPSHOT):
                self._recorded.append(self._both(signature.SNAPSHOT, signature.load))
            if change.spec.checkpoints and change.touches(record.RECORD):
                self._recorded.append(self._both(record.RECORD, record.load))
        except (HarnessError, OSError, ValueError):
            self._unreadable = True

    def differ(self, cell: Cell) -> bool:
        """Whether a cell's row, or what is recorded of the cell, is another than at the base."""
        if self._unreadable:
            return True
        if self._entries is not None and self._entries.get(cell.entry.name) != cell.entry:
            return True
        return any(then.get(cell.label) != now.get(cell.label) for then, now in self._recorded)

    def _read_entries(self) -> Mapping[str, Entry]:
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            found = [
                self._change.at_base(path, Path(folder)) if self._change.sees(path) else path
                for path in self._paths
            ]
            there = [path for path in found if path is not None]
            return model_lists.read(*there).entries if there else {}

    def _both(self, path: Path, load: Callable[[Path], Mapping[str, object]]) -> _Recorded:
        """Records of a file at the base, and those that it has now."""
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            then = self._change.at_base(path, Path(folder))
            return (load(then) if then is not None else {}), load(path)


def telling(arguments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values of those options of a session that say which files its cells use.

    Args:
        arguments: as the session was given them: `--checks deep`, or `--checks=deep`.
    """
    options = {f"--{name.replace('_', '-')}": name for name in TELLING}
    found: dict[str, tuple[str, ...]] = {}
    for place, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option not in options:
            continue
        following = arguments[place + 1 : place + 2]
        given = value if equals else "".join(following)
        found[options[option]] = (*found.get(options[option], ()), given)
    return found
