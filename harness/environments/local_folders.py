"""Packages of a backend in local folders, as `./acme-sdk` among its requirements.

Such paths are relative to what holds the folder of backends: a checkout, where commands run and
nothing needs to change, or the installed package, which nobody builds in. An environment that is
kept outside of the checkout gets copies too: it would break when the checkout goes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

#: A requirement that is a local folder.
_LOCAL = re.compile(r"^(?:-e )?\./(\S+)", flags=re.MULTILINE)

#: Files that building a package leaves in its folder.
_BUILT = re.compile(r"__pycache__|build|.*\.egg-info|.*\.py[co]")


class LocalFolders:
    """Copies of the folders that requirements name, where those lie elsewhere.

    Args:
        pins: the backend's file; the folder above `backends/` is the root of its paths.
        copies: the folder that the copies are written to.
        here: the folder that commands run in; None: the folders are copied wherever they lie.
    """

    def __init__(self, pins: Path, copies: Path, here: Path | None) -> None:
        self._root = pins.resolve().parents[2]
        self._copies = copies
        self._needed = here is None or self._root != here.resolve()
        self._written: dict[str, str] = {}

    def copied(self, text: str) -> str:
        """The text of requirements with copies in place of lines such as `-e ./backends/x`."""
        return _LOCAL.sub(self._copy, text) if self._needed else text

    def restored(self, text: str) -> str:
        """The text that uv compiled from a copied one, with the lines as they were."""
        for copy, line in self._written.items():
            text = text.replace(copy, line)
        return text

    def digests(self, text: str) -> dict[str, str]:
        """The digest of each folder that the text of requirements names: of its files' bytes."""
        found = {}
        for name in _LOCAL.findall(text):
            digest = hashlib.sha256()
            for file in _files(self._root / name):
                digest.update(f"{file.relative_to(self._root)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            found[name] = digest.hexdigest()
        return found

    def _copy(self, found: re.Match[str]) -> str:
        source = self._root / found[1]
        if not source.is_dir():
            return found[0]
        copy = self._copies / source.name
        shutil.copytree(source, copy, dirs_exist_ok=True, ignore=_left_out)
        self._written[str(copy)] = found[0]
        return str(copy)


def _left_out(_: str, names: list[str]) -> set[str]:
    return {name for name in names if _BUILT.fullmatch(name)}


def _files(folder: Path) -> Iterator[Path]:
    """The files of a package's folder in the order of their names."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _BUILT.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
