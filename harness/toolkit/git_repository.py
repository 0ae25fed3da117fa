"""Git repository of a folder: which files differ from a commit, and what they held there."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness.contract import HarnessError

#: Seconds that a command of git may take.
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class GitRepository:
    """A git repository with a working tree, at `root`."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> GitRepository:
        """The repository that holds a folder.

        Raises:
            HarnessError: there is none, or no git.
        """
        found = cls(folder)._run("rev-parse", "--show-toplevel")
        if found.returncode == 0:
            return cls(Path(found.stdout.decode().strip()).resolve())
        said = found.stderr.decode(errors="replace").strip()
        raise HarnessError(
            f"expected a git repository around {folder}, found: {said}. Fix: run in a clone of the "
            "repository, with git installed"
        )

    def commit(self, revision: str) -> str:
        """The full name of a commit.

        Raises:
            HarnessError: git knows none of that name here.
        """
        named = f"{revision}^{{commit}}"
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", named)
        if found.returncode == 0 and revision:
            return found.stdout.decode().strip()
        fix = "correct it, or fetch it, as in `git fetch origin BRANCH`"
        if self.is_shallow:
            fix += "; this clone is shallow: `git fetch --unshallow`, or `fetch-depth: 0` in CI"
        raise HarnessError(f"expected a commit of {self.root}, found {revision!r}. Fix: {fix}")

    def has(self, commit: str) -> bool:
        """Whether a commit, by its full name, is here."""
        return self._run("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0

    @property
    def is_shallow(self) -> bool:
        """Whether this clone has a part of the history only."""
        return self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"

    def fork_point(self, commit: str) -> str:
        """The commit at which HEAD and another one part: their merge base.

        Raises:
            HarnessError: this clone does not have it, or they have nothing in common.
        """
        found = self._run("merge-base", commit, "HEAD")
        if found.returncode == 0:
            return found.stdout.decode().strip()
        if self.is_shallow:
            raise HarnessError(
                f"expected the history from {commit[:12]} to HEAD, found a shallow clone without "
                "it. Fix: `git fetch --unshallow`, or `fetch-depth: 0` in CI"
            )
        raise HarnessError(
            f"expected a commit that HEAD has an ancestor in common with, found {commit[:12]}. "
            "Fix: name one that HEAD comes from"
        )

    def changed(self, since: str, until: str = "") -> frozenset[Path]:
        """The files that differ between a commit and another one, deleted and new ones too.

        Args:
            since: the commit.
            until: the other one; empty for the working tree as it is, with what is not committed
                and with new files that git does not ignore.

        Raises:
            HarnessError: git fails.
        """
        options = ("--name-only", "-z", "--no-renames", "--no-ext-diff")
        names = self._names("diff", *options, *filter(None, (since, until)), "--")
        if not until:
            names |= self._names("ls-files", "-z", "--others", "--exclude-standard")
        return frozenset(self.root / name for name in names)

    def tracked(self) -> frozenset[Path]:
        """The files that git keeps.

        Raises:
            HarnessError: git fails.
        """
        return frozenset(self.root / name for name in self._names("ls-files", "-z"))

    def check_out(self, commit: str, path: Path, into: Path) -> Path | None:
        """Write what a file or folder held at a commit below a folder.

        Args:
            commit: by its full name.
            path: in this repository.
            into: the folder; what is written lies in it as in the repository.

        Returns:
            The path there; None where the commit has no such path.
        """
        inner = path.relative_to(self.root).as_posix()
        found = self._run("archive", "--format=tar", commit, "--", inner)
        if found.returncode != 0:
            return None
        with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
            archive.extractall(into, filter="data")
        return into / inner

    def _names(self, *words: str) -> frozenset[str]:
        found = self._run(*words)
        if found.returncode != 0:
            said = found.stderr.decode(errors="replace").strip()
            raise HarnessError(
                f"expected `git {words[0]}` to list files of {self.root}, found: {said}. "
                "Fix: mend the repository, or leave --changed-since out"
            )
        return frozenset(name for name in found.stdout.decode(errors="replace").split("\0") if name)

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", *words], cwd=self.root, capture_output=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(words, 127, b"", str(error).encode())
