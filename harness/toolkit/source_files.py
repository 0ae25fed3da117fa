"""Source files by a label that holds on every machine, and the digest of each.

    harness/cell/stages.py              of this project, from its root
    @/backend.py                        of the backend's own folder, wherever that is
    @@/_shared/graph.py                 of the folder that holds that one
    transformers:models/bert/modeling_bert.py
                                        of an installed package
    transformers:                       that package's Python files outside of its folder `models`

Packages of models keep one architecture beside the other in a folder `models`: transformers,
diffusers and timm do. What lies outside of it counts for every model of the package.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from harness.toolkit.checkout import ROOT

#: The folder of a package that holds one architecture beside the other.
MODELS = "models"

#: Form of a label. It may come from a results file, and names no path outside.
LABEL = re.compile(r"(?:[A-Za-z_]\w*:|@{1,2}/)?[\w./ -]*")

#: The labels of files in the backend's own folder begin so, and of those in the folder around it.
OWN, AROUND = "@/", "@@/"


def label_of(path: Path, folder: Path) -> str | None:
    """The label of a file of this project or of a folder of backends; None of any other.

    Args:
        path: of the file.
        folder: the backend's own.
    """
    for root, prefix in ((folder, OWN), (ROOT, ""), (folder.parent, AROUND)):
        if path.is_relative_to(root):
            return f"{prefix}{path.relative_to(root).as_posix()}"
    return None


class SourceFiles:
    """The digests of source files by label, each read once.

    Args:
        folder: the backend's own.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._found: dict[str, tuple[str, float]] = {}  # digest and time of change, by label

    def digest(self, label: str) -> str:
        """SHA-256 of a label's file or files; empty where there is none.

        Args:
            label: see above; one that leads out of its folder has no file.
        """
        return self._look_up(label)[0]

    def changed_at(self, label: str) -> float:
        """When a file of a label was changed last, in seconds since the epoch; 0 without one."""
        return self._look_up(label)[1]

    def _look_up(self, label: str) -> tuple[str, float]:
        if label not in self._found:
            files = self.files(label)
            changed = max((file.stat().st_mtime for file in files), default=0.0)
            self._found[label] = (_digest_of(files), changed)
        return self._found[label]

    def together(self, labels: Iterable[str]) -> str:
        """SHA-256 of labels and their digests."""
        found = hashlib.sha256()
        for label in sorted(set(labels)):
            found.update(f"{label} {self.digest(label)}\n".encode())
        return found.hexdigest()

    def files(self, label: str) -> list[Path]:
        """The files of a label."""
        package, colon, inner = label.partition(":")
        below = PurePosixPath(inner if colon else label)
        if not LABEL.fullmatch(label) or below.is_absolute() or ".." in below.parts:
            return []
        if colon:
            folder = package_folder(package)
            if folder is not None and not inner:
                return list(_core(folder))
        elif label.startswith((OWN, AROUND)):
            at, _, inner = label.partition("/")
            own = self._folder
            folder = own.parent if own is not None and f"{at}/" == AROUND else own
        else:
            folder, inner = ROOT, label
        return [folder / inner] if folder is not None and (folder / inner).is_file() else []


@functools.cache
def package_folder(name: str) -> Path | None:
    """The folder of an installed package, which is not imported for that; None without one."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places))) if places else None


def _core(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] != MODELS:
            yield path


def _digest_of(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    some = False
    for file in files:
        some = True
        found.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest() if some else ""
