"""Discovery: architectures of an installed transformers that are new, gone or renamed in the lists.

The library is read, never imported: its auto mappings are literals, and parsing them takes a
tenth of the time that importing it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.catalog import family_guess, model_lists
from harness.catalog.installed import InstalledLibrary
from harness.catalog.selection import Catalog
from harness.contract import Entry, HarnessError
from harness.toolkit import toml_text
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.close_matches import normalise


@dataclass(frozen=True, slots=True)
class ListDifference:
    """An installed transformers against the lists.

    Attributes:
        version: of the library.
        new: architectures that no entry has.
        gone: entries whose architecture the library does not have, though nothing in the entry
            says so.
        renamed: entry -> the new architecture that is probably the same model.
        absent: entries that say themselves that this version does not have them.
    """

    version: str
    new: tuple[str, ...]
    gone: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def compare(library: InstalledLibrary, catalog: Catalog) -> ListDifference:
    """The difference between a library's architectures and those of the lists, both ways."""
    entries = [entry for entry in catalog.entries.values() if entry.library == "transformers"]
    listed = {entry.architecture for entry in entries}
    known = {*library.architectures, *library.configs}
    new = sorted(set(library.architectures) - listed)
    by_normal = {normalise(architecture): architecture for architecture in new}
    missing = [entry for entry in entries if entry.architecture not in known]
    absent = [entry.name for entry in missing if not _meant_for(entry, library.version)]
    renamed = {
        entry.name: by_normal[normalise(entry.architecture)]
        for entry in missing
        if entry.name not in absent and normalise(entry.architecture) in by_normal
    }
    gone = [entry.name for entry in missing if entry.name not in {*absent, *renamed}]
    return ListDifference(library.version, tuple(new), tuple(gone), renamed, tuple(absent))


def write(
    library: InstalledLibrary, architectures: Iterable[str], catalog: Catalog, root: Path
) -> list[str]:
    """Adds a row for each architecture to the list of the family that it probably belongs to.

    Every other line of the lists stays as it is.

    Returns:
        The list files that changed, relative to `root`.

    Raises:
        HarnessError: two names would collide; nothing is written.
    """
    taken = {normalise(name) for name in catalog.entries}
    by_file: dict[Path, dict[str, str]] = {}
    for architecture in architectures:
        name = re.sub(r"[^a-z0-9]+", "_", architecture.lower())
        if normalise(name) in taken:
            raise HarnessError(
                f"expected a free name for the new architecture {architecture!r}, found an entry "
                f"`{name}`. Fix: add it by hand under another name"
            )
        taken.add(normalise(name))
        guess = family_guess.guess(library, architecture)
        row = {"architecture": architecture, "task": guess.task, "priority": "low"}
        comment = f"review: family and task guessed from {guess.because}"
        path = root / model_lists.FOLDER / f"{guess.family.replace('-', '_')}.toml"
        by_file.setdefault(path, {})[name] = toml_text.table(name, row, comment)
    for path, tables in by_file.items():
        text = path.read_text(encoding="utf-8") if path.is_file() else model_lists.SCHEMA
        write_atomically(path, toml_text.insert_tables(text, tables))
    return sorted(path.relative_to(root).as_posix() for path in by_file)


def _meant_for(entry: Entry, version: str) -> bool:
    """Whether the entry's own `requires` allow this version of transformers."""
    return all(
        requirement.specifier.contains(version, prereleases=True)
        for requirement in map(Requirement, entry.requires)
        if canonicalize_name(requirement.name) == "transformers"
    )
