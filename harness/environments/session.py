"""A session of this harness in another environment, and the cell that it ran.

The results of such a session go to a folder of their own: an environment with other pins than the
backend's says nothing of the backend's history.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harness.catalog.backend_spec import BackendSpec
from harness.catalog.entry_points import distribution_of
from harness.contract import HarnessError, Outcome
from harness.toolkit.checkout import working_folder

#: This package, as `python -m` takes it.
PACKAGE = __name__.partition(".")[0]

#: Variables that would change a session, or have it compile every module anew.
_DROPPED = ("HARNESS_BACKEND", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS")


@dataclass(frozen=True, slots=True)
class SeenFailure:
    """One failure of a cell as it is stored."""

    stage: str
    outcome: str
    cause: str
    reason: str

    @property
    def key(self) -> tuple[str, str]:
        """Stage and fingerprint, which two versions share where they have the same fault."""
        return self.stage, self.cause or self.reason

    @property
    def line(self) -> str:
        """Outcome, stage and reason."""
        return f"{self.outcome} at {self.stage}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SeenCell:
    """The result of one cell of a session: its outcome, and all of its failures."""

    outcome: str
    failures: tuple[SeenFailure, ...] = ()

    @property
    def flaky(self) -> bool:
        """Whether the cell passed and failed."""
        return self.outcome == Outcome.FLAKY

    @property
    def line(self) -> str:
        """The outcome, and the first failure where there is one."""
        return self.failures[0].line if self.failures else self.outcome


class NoResults(HarnessError):
    """A session that ends without a result, as where its SDK cannot be imported."""


@contextmanager
def results_of(python: Path, spec: BackendSpec, options: Sequence[str]) -> Iterator[list[Path]]:
    """The results files of one session, which are there until the block ends.

    Recorded signatures are left out: they are those of the pins, and many differ on any other
    version.

    Args:
        python: of the environment.
        spec: the backend.
        options: of the session, as `--models`.

    Raises:
        NoResults: the session ends without any; the message has the end of what it printed.
    """
    # Where bytecode is unwanted in the tree, each child process would compile torch anew.
    bytecode = {"PYTHONPYCACHEPREFIX": str(python.parents[1] / "pycache")}
    environment = {**os.environ, **bytecode, "HF_HUB_OFFLINE": "1"}
    for name in _DROPPED:
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary, "results")
        done = subprocess.run(
            [str(python), "-m", PACKAGE, "run", spec.name, "-p", "no:cacheprovider", "-q",
             *_folder_option(spec, Path(temporary)), "--results", str(results), *options],
            cwd=working_folder(), env=environment, capture_output=True, encoding="utf-8",
            errors="replace", check=False,
        )  # fmt: skip
        files = sorted(results.glob("*.duckdb"))
        if not files:
            raise NoResults(
                f"expected results of a session of {spec.name}, found "
                f"{_last_words(f'{done.stdout}{done.stderr}')}. Fix: other versions"
            )
        yield files


def _folder_option(spec: BackendSpec, temporary: Path) -> list[str]:
    """The option by which a session finds the backend; none where its environment has it.

    Args:
        spec: the backend.
        temporary: a folder for a copy without the snapshot.
    """
    if spec.snapshot:
        folder = temporary / "backends" / spec.folder.name
        without_snapshot(spec.folder, folder)
        return ["--backends-dir", str(folder.parent)]
    return [] if distribution_of(spec) else ["--backends-dir", str(spec.folder.parent)]


def cell_in(
    python: Path, spec: BackendSpec, entry: str, head: str, precision: str, options: Sequence[str]
) -> SeenCell:
    """The result of one cell in an environment.

    Raises:
        NoResults: the session ends without it.
    """
    chosen = ["--models", entry, "--heads", head, "--precision", precision]
    with results_of(python, spec, [*chosen, *options]) as files:
        return read_cell(files[0])


def read_cell(path: Path) -> SeenCell:
    """The only cell of a results file that a session of ours has just written.

    Raises:
        NoResults: it has none.
    """
    columns = "stage, outcome, cause, reason"
    with duckdb.connect(str(path), read_only=True) as connection:
        cells = connection.execute(f"SELECT {columns} FROM cells").fetchall()
        if not cells:
            raise NoResults("expected the result of one cell, found none. Fix: other versions")
        further = connection.execute(
            f"SELECT {columns} FROM further_failures ORDER BY number"
        ).fetchall()
    outcome = cells[0][1]
    if outcome == Outcome.PASS:
        return SeenCell(outcome)
    return SeenCell(outcome, tuple(SeenFailure(*row) for row in (cells[0], *further)))


def without_snapshot(backend: Path, copy: Path) -> None:
    """Copy a backend's folder, so that its models are not held against recorded signatures."""
    shutil.copytree(backend, copy, ignore=shutil.ignore_patterns("__pycache__"))
    told = (copy / "backend.toml").read_text(encoding="utf-8")
    told = re.sub(r"^snapshot = true\n", "", told, flags=re.MULTILINE)
    (copy / "backend.toml").write_text(told, encoding="utf-8")


def _last_words(printed: str) -> str:
    """The last line that a session printed with something on it."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["nothing printed"])[-1]
