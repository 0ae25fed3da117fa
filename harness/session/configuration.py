"""Configuration of pytest for a session without nox: none of the current folder's changes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.toolkit.checkout import PACKAGE

#: Pytest's configuration file.
CONFIGURATION = PACKAGE / "session" / "pytest.ini"


def own_words() -> list[str]:
    """The arguments of pytest that choose the file, and the current folder as its root."""
    return ["-c", str(CONFIGURATION), "--rootdir", str(Path.cwd())]


def asked(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments of a session that a person gave."""
    own = own_words()
    given = list(arguments)
    return tuple(given[len(own) :] if given[: len(own)] == own else given)
