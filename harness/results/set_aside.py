"""Setting aside of a results file: file and log together, into a new folder beside it.

DuckDB keeps what was committed last in a log, `NAME.duckdb.wal`. A file that is moved without it
loses those rows, and the next file of that name would take the log for its own.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

#: Endings of a database's own files: itself, its log, and the logs of a checkpoint.
PARTS = ("", ".wal", ".wal.checkpoint", ".wal.recovery")

_FOLDER = re.compile(r".+\.duckdb\.aside-\d+")


def parts(path: Path) -> list[Path]:
    """The files of a database that exist, itself first."""
    named = [path.with_name(path.name + ending) for ending in PARTS]
    return [part for part in named if part.exists() or part.is_symlink()]


def set_aside(path: Path) -> Path:
    """Move a database whole into a new folder `NAME.duckdb.aside-N`, under the same names.

    Returns:
        Where the file lies now.

    Raises:
        OSError: it cannot be moved.
    """
    folder = new_folder(path)
    for part in parts(path):
        part.rename(folder / part.name)
    return folder / path.name


def new_folder(path: Path) -> Path:
    """A new folder for a database that is set aside, which nothing lies in yet."""
    for number in itertools.count(1):
        folder = path.with_name(f"{path.name}.aside-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def holds(path: Path, root: Path) -> bool:
    """Whether a file below `root` was set aside."""
    return any(_FOLDER.fullmatch(part) for part in path.relative_to(root).parts[:-1])
