"""The checkout: the folder that this harness is part of, and paths as a person types them in it."""

from __future__ import annotations

from pathlib import Path

#: The checkout that this file is part of.
ROOT = Path(__file__).resolve().parents[2]


def shown_path(path: Path) -> str:
    """A path for a message: relative to the working directory where it lies below that."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
