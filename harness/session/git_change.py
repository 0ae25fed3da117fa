"""Change of a branch: the files that differ from where it left another one, as a backend sees them.

What is not committed counts, and so do new files that git does not ignore.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.cell.used_code import is_used
from harness.toolkit.checkout import DIRTY, PACKAGE, ROOT, is_installed
from harness.toolkit.git_repository import GitRepository
from harness.toolkit.source_files import AROUND, OWN, label_of


class GitChange:
    """The files that differ between a commit and the working tree, as one backend sees them.

    Args:
        revision: the branch, tag or commit that was left.
        spec: the backend's folder.

    Attributes:
        spec: the backend's folder.
        base: the commit at which HEAD and the revision part.
        files: that differ.
        shown: the revision with that commit, for messages.

    Raises:
        HarnessError: the current folder lies in no repository, which has no such commit, or this
            clone is too shallow.
    """

    def __init__(self, revision: str, spec: BackendSpec) -> None:
        self.spec = spec
        self._repository = GitRepository.around(Path.cwd())
        self.base = self._repository.fork_point(self._repository.commit(revision))
        self.files = self._repository.changed(self.base)
        self.shown = f"{revision} ({self.base[:12]})"
        self._before: dict[str, frozenset[Path] | None] = {}
        self._known: dict[frozenset[str], bool] = {}

    def sees(self, path: Path) -> bool:
        """Whether git would tell a change of a path: it lies in the repository's working tree."""
        return path.is_relative_to(self._repository.root) and not is_installed(path)

    @cached_property
    def sees_harness(self) -> bool:
        """Whether git would tell a change of the harness."""
        return self.sees(PACKAGE)

    def answers_for(self, path: Path) -> bool:
        """Whether git would tell a change of a path, or the version of the harness would."""
        return self.sees(path) or (not self.sees_harness and path.is_relative_to(ROOT))

    def touches(self, path: Path) -> bool:
        """Whether a file differs, or one in a folder."""
        return path in self.files or any(file.is_relative_to(path) for file in self.files)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels of the files that differ and that some cell of the backend may use."""
        return self.labels_of(self.files)

    @cached_property
    def is_of_all(self) -> bool:
        """Whether all cells are touched: by the backend's pins, or its own folder."""
        own = any(label.startswith(OWN) for label in self.labels)
        return own or self.spec.lock in self.files or not self.answers_for(self.spec.folder)

    def knows(self, labels: frozenset[str]) -> bool:
        """Whether git would tell a change of each of these files: none is one that it ignores."""
        if labels not in self._known:
            self._known[labels] = all(map(self._knows, labels))
        return self._known[labels]

    def before(self, commit: str) -> frozenset[Path] | None:
        """The files that differ between an earlier commit and the base; None if it is not here."""
        if commit not in self._before:
            here = commit and not commit.endswith(DIRTY) and self._repository.has(commit)
            self._before[commit] = self._repository.changed(commit, self.base) if here else None
        return self._before[commit]

    def labels_of(self, files: Iterable[Path]) -> frozenset[str]:
        """The labels of those files that some cell of the backend may use."""
        folder = self.spec.folder
        found = {label_of(path, folder) for path in files if is_used(path, folder)}
        return frozenset(filter(None, found))

    def at_base(self, path: Path, into: Path) -> Path | None:
        """Write what a file or folder held at the base below a folder; None where it was not."""
        return self._repository.check_out(self.base, path, into)

    def _knows(self, label: str) -> bool:
        if ":" in label:  # of an installed package, which the pins choose
            return True
        folder = self.spec.folder
        around = folder.parent if label.startswith(AROUND) else folder
        place = around if label.startswith((OWN, AROUND)) else PACKAGE
        if not self.sees(place):
            return self.answers_for(place)
        return label in self._tracked or label in self.labels

    @cached_property
    def _tracked(self) -> frozenset[str]:
        return self.labels_of(self._repository.tracked())
