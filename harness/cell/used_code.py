"""Code that a cell's process has used: what its result follows from beside row, pins and device."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from harness.contract import Case
from harness.toolkit import toml_file
from harness.toolkit.checkout import PACKAGE, ROOT
from harness.toolkit.source_files import OWN, label_of

#: Files of a backend's folder from which no result follows: what is expected of it, its pins, whose
#: digest counts by itself, and what people read.
OTHER_FILES = frozenset({"expectations.toml", "requirements.txt", "excludes.txt"})
OTHER_SUFFIXES = frozenset({".md", ".in", ".pyc"})

#: Folders of this project whose files are code. Its model lists are not, which lie in the package
#: where that is installed.
CODE = (f"{PACKAGE}{os.sep}", f"{ROOT / 'backends'}{os.sep}")
LISTS = f"{ROOT / 'model_lists'}{os.sep}"


class Found:
    """The files that a process has used so far; modules and tables are looked at once.

    Attributes:
        labels: of the files.
    """

    def __init__(self) -> None:
        self.labels: set[str] = set()
        self._seen: set[str | Path] = set()

    def look(self, folder: Path) -> None:
        """Look at the modules and tables that are new since the last call."""
        folders = (*CODE, f"{folder.parent}{os.sep}")
        for name in sys.modules.keys() - self._seen:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str) and file.startswith(folders):
                self._add(file, folder)
            self._seen.add(name)
        for path in toml_file.tables_read() - self._seen:
            named = path.name in OTHER_FILES or str(path).startswith(LISTS)
            if str(path).startswith(folders) and not named:
                self._add(str(path), folder)
            self._seen.add(path)

    def _add(self, file: str, folder: Path) -> None:
        label = label_of(Path(file), folder)
        if label is not None:
            self.labels.add(label)


#: Files that this process has used, by the backend's folder.
_found: dict[Path, Found] = {}


def preload(folder: str) -> None:
    """Look at what the fork server has imported, so that no child does, which would copy its pages.

    Args:
        folder: the backend's own.
    """
    _found.setdefault(Path(folder), Found()).look(Path(folder))
    _own(Path(folder))


def used_code(case: Case | None, folder: Path) -> list[str]:
    """The files that this process has used so far, by label, in alphabetical order.

    Modules of this project that it has imported, tables that it has read, all of the backend's
    folder, and the library's code of the model.

    Args:
        case: of the cell; None where it was not built.
        folder: the backend's own.
    """
    found = _found.setdefault(folder, Found())
    found.look(folder)
    labels = getattr(case, "code_labels", None)
    library = labels() if labels is not None else ()
    return sorted({*found.labels, *_own(folder), *library})


def is_used(path: Path, folder: Path) -> bool:
    """Whether a file is such that a cell's process may use it: code, a table, of the backend.

    Args:
        path: of the file, which need not be there.
        folder: the backend's own.
    """
    file = str(path)
    if path.name in OTHER_FILES or path.suffix in OTHER_SUFFIXES or file.startswith(LISTS):
        return False
    if not file.startswith((*CODE, f"{folder.parent}{os.sep}")):
        return False
    # Another backend's folder is nothing to this one.
    around = path.relative_to(folder.parent).parts if path.is_relative_to(folder.parent) else ()
    other = folder.parent / around[0] if len(around) > 1 else folder
    return other == folder or not (other / "backend.toml").is_file()


@functools.cache
def _own(folder: Path) -> tuple[str, ...]:
    """The files of a backend's folder."""
    return tuple(
        f"{OWN}{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OTHER_FILES and path.suffix not in OTHER_SUFFIXES
    )
