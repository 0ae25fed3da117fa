"""Run folder: the temporary folder of this process, locked while the process lives.

Everything temporary lies in it: the output and temporary files of children, and the fork server's
socket. The kernel drops the lock when the process ends, however it ends. So the next run tells the
folder of a killed run from that of a living one, and removes it. A lock also keeps systemd-tmpfiles
from cleaning a folder (https://systemd.io/TEMPORARY_DIRECTORIES).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from harness.contract import HarnessError
from harness.workers.orphans import end_marked

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: How the names of run folders begin.
PREFIX = "harness-run-"

#: File in a run folder that is locked where a folder itself cannot be, on Windows.
LOCK = "lock"

#: The run folder of this process, its lock's file descriptor, and the process itself: a forked
#: child has no folder of its own yet.
_current: tuple[Path, int, int] | None = None
_guard = threading.RLock()


def run_folder() -> Path:
    """The run folder of this process; makes it anew where something has removed it.

    The first call removes the folders of killed runs, and ends what is left of their processes.

    Raises:
        HarnessError: there is no room for it.
    """
    global _current
    with _guard:
        if _current is not None and _current[2] == os.getpid() and _current[0].is_dir():
            return _current[0]
        first = _current is None or _current[2] != os.getpid()
        before = None if first or _current is None else _current[0]
        _forget()
        parent = Path(tempfile.gettempdir()) if before is None else before.parent
        try:
            _current = (*_make(parent, before), os.getpid())
        except OSError as error:
            raise no_room(parent, error) from error
        if first:
            atexit.register(remove)
            remove_leftovers(parent)
        return _current[0]


def existing() -> Path | None:
    """The run folder of this process; None where there is none yet."""
    with _guard:
        return _current[0] if _current is not None and _current[2] == os.getpid() else None


def new_folder() -> Path:
    """A new, empty folder in the run folder.

    Raises:
        HarnessError: there is no room for it.
    """
    parent = run_folder()
    try:
        return Path(tempfile.mkdtemp(dir=parent, prefix=""))
    except OSError as error:
        raise no_room(parent, error) from error


def no_room(folder: Path, error: OSError) -> HarnessError:
    """The error for a temporary folder or file that could not be made."""
    place = tempfile.gettempdir()
    return HarnessError(
        f"expected room for temporary files in {folder}, found: {error}. What was stored before is "
        f"kept. Fix: make room (`df -h {place}` and `df -i {place}` show it), or choose another "
        "folder with TMPDIR=DIR, and run again"
    )


def remove() -> None:
    """Remove the run folder of this process. Safe to call twice."""
    with _guard:
        if _current is not None and _current[2] == os.getpid():
            path = _current[0]
            _forget()
            shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the run folders of this user whose process is gone, with what it left running.

    Args:
        parent: the folder for temporary files.

    Returns:
        The folders, of which none is that of a living run or of another user.
    """
    removed = []
    for path in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_dir() or not _is_own(path):
                continue
            lock = _lock(path)
            if lock is None:
                continue
            end_marked(path.name)
            if sys.platform == "win32":
                os.close(lock)
            shutil.rmtree(path, ignore_errors=True)
            if sys.platform != "win32":
                os.close(lock)
            removed.append(path)
    return removed


def _forget() -> None:
    global _current
    if _current is not None and _current[2] == os.getpid():
        with contextlib.suppress(OSError):
            os.close(_current[1])
    _current = None


def _make(parent: Path, path: Path | None) -> tuple[Path, int]:
    """A new run folder, and the file descriptor that holds its lock.

    The folder gets its name once it is locked: nobody takes it for that of a killed run.

    Args:
        parent: the folder for temporary files.
        path: the name that the folder is to have; None: a new one.
    """
    made = Path(tempfile.mkdtemp(dir=parent, prefix=f".{PREFIX}"))
    path = path or parent / made.name.removeprefix(".")
    if sys.platform == "win32":  # which renames no folder with an open file in it
        made.rename(path)
        (path / LOCK).touch()
        lock = _lock(path)
    else:
        lock = _lock(made)
        made.rename(path)
    if lock is None:
        raise BlockingIOError(f"{path} is locked by another process")
    return path, lock


def _lock(path: Path) -> int | None:
    """The file descriptor that holds the lock of a folder; None where another process holds it."""
    if sys.platform == "win32":
        lock = os.open(path / LOCK, os.O_RDWR)  # without the file: a folder that is being made
        try:
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(lock)
            return None
        return lock
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _is_own(path: Path) -> bool:
    return sys.platform == "win32" or path.stat().st_uid == os.getuid()
