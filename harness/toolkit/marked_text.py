"""Text between two marks of a document, such as a generated table in a Markdown file."""

from __future__ import annotations

from pathlib import Path

from harness.contract import HarnessError
from harness.toolkit.atomic_write import write_atomically


def write_between(path: Path, begin: str, end: str, text: str) -> bool:
    """Replace the text between two marks of a file; whether that changed the file.

    Args:
        path: of a UTF-8 text file.
        begin: a line of its own, such as an HTML comment.
        end: the same, after `begin`.
        text: what stands between them from now on, without a newline at its end.

    Raises:
        HarnessError: the file has no marks, or cannot be written. The file is then as it was.
    """
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    start, stop = before.find(begin), before.find(end)
    if not 0 <= start < stop:
        raise HarnessError(
            f"expected {begin} and, after it, {end} in {path}, found none. "
            "Fix: put both lines where the table belongs"
        )
    after = f"{before[: start + len(begin)]}\n{text}\n{before[stop:]}"
    if after != before:
        write_atomically(path, after)
    return after != before
