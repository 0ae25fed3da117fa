"""Packages of a backend in local folders, as `./acme-sdk` among its requirements.

Such paths are relative to what holds the folder of backends: a checkout, where commands run and
nothing needs to change, or the installed package, which nobody builds in.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path


class LocalFolders:
    """Copies of the folders that requirements name, where those lie elsewhere.

    Args:
        pins: the backend's file; the folder above `backends/` is the root of its paths.
        copies: the folder that the copies are written to.
        here: the folder that commands run in.
    """

    def __init__(self, pins: Path, copies: Path, here: Path) -> None:
        self._root = pins.resolve().parents[2]
        self._copies = copies
        self._needed = self._root != here.resolve()
        self._written: dict[str, str] = {}

    def copied(self, text: str) -> str:
        """The text of requirements with copies in place of lines such as `-e ./backends/x`."""
        return re.sub(r"^(?:-e )?\./(\S+)", self._copy, text, flags=re.M) if self._needed else text

    def restored(self, text: str) -> str:
        """The text that uv compiled from a copied one, with the lines as they were."""
        for copy, line in self._written.items():
            text = text.replace(copy, line)
        return text

    def _copy(self, found: re.Match[str]) -> str:
        source = self._root / found[1]
        if not source.is_dir():
            return found[0]
        copy = self._copies / source.name
        shutil.copytree(source, copy, dirs_exist_ok=True)
        self._written[str(copy)] = found[0]
        return str(copy)
