"""Snapshots of results files that sessions still write: copies that can be read meanwhile.

DuckDB lets nobody else open a file that is being written. A copy of the file with its log holds
what the session has committed. A copy that was made in the midst of a checkpoint cannot be read,
and the one before it stays.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from harness.results import merged
from harness.results.reader import Reader


class Snapshots:
    """Copies of the results files of a folder.

    Args:
        folder: that sessions write to.
        into: an empty folder for the copies.
    """

    def __init__(self, folder: Path, into: Path) -> None:
        self._folder = folder
        self._into = into
        self._states: dict[Path, object] = {}

    def refresh(self) -> None:
        """Copy what has changed, and drop the copies of files that are gone."""
        paths = merged.find(self._folder)
        with Reader() as reader:
            for path in paths:
                state = _state(path)
                copy = self._into / path.relative_to(self._folder)
                if self._states.get(path) != state and self._copy(path, copy, reader):
                    self._states[path] = state
        for path in self._states.keys() - set(paths):
            del self._states[path]
            _remove(self._into / path.relative_to(self._folder))

    def _copy(self, path: Path, copy: Path, reader: Reader) -> bool:
        """Copy one file with its log; returns whether the copy is newer now, and can be read."""
        draft = copy.with_name(f"{copy.name}.draft")
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, draft)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(_log(path), _log(draft))
        except OSError:
            _remove(draft)
            return False
        if reader.read(draft, None).kind and copy.exists():
            _remove(draft)
            return False
        _remove(copy)
        draft.replace(copy)
        if _log(draft).exists():
            _log(draft).replace(_log(copy))
        return True


def _log(path: Path) -> Path:
    return Path(f"{path}.wal")


def _remove(path: Path) -> None:
    for each in (path, _log(path)):
        each.unlink(missing_ok=True)


def _state(path: Path) -> object:
    """Something that changes with a file and its log."""
    found = []
    for each in (path, _log(path)):
        with contextlib.suppress(OSError):
            state = each.stat()
            found.append((state.st_mtime_ns, state.st_size))
    return tuple(found)
