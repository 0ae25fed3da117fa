"""Errors of writing a results file, in words: what failed, and what helps against just that."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_ELSEWHERE = "choose another folder with `--results DIR`"

_FULL = re.compile(r"space left|disk quota|file too large|no inode", re.IGNORECASE)
_FORBIDDEN = re.compile(r"read-only|permission denied|operation not permitted", re.IGNORECASE)
_DAMAGED = re.compile(r"corrupt|checksum|not a valid DuckDB|could not read enough", re.IGNORECASE)
_TWICE = re.compile(r"duplicate key|unique constraint|primary key", re.IGNORECASE)
_BROKEN_DISK = re.compile(r"input/output error|stale file handle", re.IGNORECASE)


def fix_of(error: Exception, path: Path) -> str:
    """The fix for an error of DuckDB or the operating system, by its text.

    Args:
        error: as it was raised.
        path: of the results file.
    """
    text = str(error)
    folder = shlex.quote(str(path.parent))
    if _FULL.search(text):
        return f"make room (`df -h {folder}` and `df -i {folder}` show it) or {_ELSEWHERE}"
    if _FORBIDDEN.search(text):
        return f"make {folder} writable (`ls -ld {folder}`, `mount` show why not) or {_ELSEWHERE}"
    if _TWICE.search(text):
        return (
            "report this fault of the harness: it expected each cell once in a run, and found one "
            "twice; the first result is kept"
        )
    if _DAMAGED.search(text):
        return "the next run sets the damaged file aside, whole: check the disk (`dmesg`)"
    if _BROKEN_DISK.search(text):
        return f"check the disk (`dmesg`), or {_ELSEWHERE}"
    return _ELSEWHERE


def first_line(error: Exception) -> str:
    """The first line of an error's text, as a sentence."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line if line.endswith((".", "!")) else line + "."
