"""Atomic write of a file: a draft beside the file, renamed over it when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

#: The ending of a draft's name: a killed writer leaves one behind.
DRAFT = ".half"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in one step: readers see the old content or the new one, never a part.

    Args:
        path: a file in a folder that exists.
        content: bytes, or text, which is written as UTF-8 with its line ends as they are.

    Raises:
        OSError: the file cannot be written. The old one is then as it was, as it is after an
            interruption.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{DRAFT}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
