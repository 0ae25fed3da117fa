"""One side of a comparison: results of files, folders or one run, or expectations of a revision.

A side is asked for by a text:

    results/            a file of results, or a folder of them, such as the artefacts of CI shards
    torch-cpu~1         the run before the last one of a backend; `torch-cpu` is the last one
    20261129T0915-ab12  a run by its id, or by the beginning of it
    git:v1.2            the expectations of all backends at a revision; `git:` as the files are now
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.catalog import model_lists
from harness.catalog.backend_spec import session_name
from harness.contract import HarnessError, Outcome
from harness.results import merged, queries
from harness.results.changed_cells import CellKey, State, is_green
from harness.results.merged import Gathered
from harness.results.queries import CellRow, RunRow
from harness.toolkit import typed_commands
from harness.toolkit.close_matches import did_you_mean

#: Before the name of a revision.
REVISION = "git:"

#: The file of the faults of the libraries, which all backends share.
LIBRARY = f"{model_lists.FOLDER}/{model_lists.EXPECTATIONS}"

#: In place of a head, precision or backend that an expectation does not name.
ANY = "any"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: as a reader knows it.
        states: its cells.
        rows: the stored results of the same cells; empty for expectations.
        runs: of each backend, the run that supplies most of its cells.
        remarks: lines on what was left out.
        expectations: whether it holds expectations: then a cell that is not there passes.
    """

    label: str
    states: Mapping[CellKey, State]
    rows: Mapping[CellKey, CellRow] = field(default_factory=dict)
    runs: Mapping[str, RunRow] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    expectations: bool = False


class KnownRuns:
    """The runs of a folder of results, read from its files once, and only where a run is asked for.

    Args:
        folder: of the results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def named(self, text: str) -> tuple[RunRow, Sequence[Path]]:
        """The run that a text asks for, and the files that hold it.

        Raises:
            HarnessError: there is none, or more than one.
        """
        run = _run(text, self._runs, self.folder)
        return run, self._gathered.holders[run.run_id]

    def remarks(self) -> list[str]:
        """A line on each file and row that was left out."""
        return self._gathered.remarks()

    @cached_property
    def _gathered(self) -> Gathered:
        return merged.gather(merged.find(self.folder), None, runs=())

    @cached_property
    def _runs(self) -> list[RunRow]:
        with self._gathered.connection as connection:
            return _all_runs(connection)


def find(text: str, folder: Path, root: Path, known: KnownRuns | None = None) -> Side:
    """The side that a text asks for; the head of this module says how.

    Args:
        text: as a user gives it.
        folder: of the results in which runs are looked up.
        root: the checkout with the backends.
        known: the runs of that folder, where several sides are asked for.

    Raises:
        HarnessError: there is none, or it has nothing that can be read.
    """
    if text.startswith(REVISION):
        return _expectations(text.removeprefix(REVISION), root)
    path = Path(text)
    if path.exists():
        return _results(text, [path] if path.is_file() else merged.find(path), None)
    known = known or KnownRuns(folder)
    run, files = known.named(text)
    found = _results(f"{run.backend}, run {run.run_id}", files, run)
    return replace(found, remarks=tuple(dict.fromkeys([*known.remarks(), *found.remarks])))


def _all_runs(connection: queries.Connection) -> list[RunRow]:
    """All runs on real hardware and without injected faults, the newest first."""
    rows = queries.dicts(
        connection.execute(
            "SELECT *, 0 AS supplies FROM runs WHERE faults = '' "
            "ORDER BY effective_start DESC, sequence DESC, run_id DESC"
        )
    )
    return [queries.run_row(row) for row in rows]


def _run(text: str, runs: list[RunRow], folder: Path) -> RunRow:
    counted = re.fullmatch(r"(.+?)(?:~(\d+))?", text)
    assert counted is not None
    backend, back = session_name(counted[1]), int(counted[2] or 0)
    own = [run for run in runs if run.backend == backend]
    if own:
        if back < len(own):
            return own[back]
        raise HarnessError(
            f"expected more than {back} runs of {backend} in {folder}, found {len(own)}. Fix: "
            f"{backend}~{len(own) - 1} is the oldest"
        )
    named = [run for run in runs if run.run_id.startswith(text)]
    if len(named) == 1:
        return named[0]
    if named:
        raise HarnessError(
            f"expected the id of one run, found {len(named)} that begin with {text!r}. Fix: give "
            f"more of it, as {named[0].run_id}"
        )
    known = sorted({run.backend for run in runs})
    raise HarnessError(
        f"expected a file or folder of results, a backend with runs in {folder}, the id of a run, "
        f"or {REVISION}REVISION; found {text!r}.{did_you_mean(text, known)} Fix: backends with "
        f"runs there: {', '.join(known) or 'none'}; another folder is --results DIR"
    )


def _results(label: str, files: Sequence[Path], run: RunRow | None) -> Side:
    gathered = merged.gather(files, None, runs=None if run is None else {run.run_id})
    with gathered.connection:
        found = queries.cells(gathered.connection)
        runs: dict[str, RunRow] = {}
        for row in queries.runs(gathered.connection):
            if row.backend not in runs or row.supplies > runs[row.backend].supplies:
                runs[row.backend] = row
    remarks = tuple(gathered.remarks())
    if not found:
        told = "\n".join(("", *remarks))
        raise HarnessError(
            f"expected results in {label}, found none that count (what ran with --fallback or "
            "--fault does not). Fix: run a session, for example "
            f"{typed_commands.session('mock')}{told}"
        )
    rows = {CellKey(row.backend, row.precision, row.entry, row.head): row for row in found}
    states = {
        key: State(
            row.outcome, row.stage, row.cause, row.reason, is_green(row.outcome, row.verdict)
        )
        for key, row in rows.items()
    }
    return Side(label, states, rows, runs, remarks)


def _expectations(revision: str, root: Path) -> Side:
    texts = _at_revision(revision, root) if revision else _as_they_are(root)
    states: dict[CellKey, State] = {}
    for name, text in texts:
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise HarnessError(f"{REVISION}{revision}, {name}: {error}") from error
        folder = Path(name).parent.name
        backend = ANY if folder == model_lists.FOLDER else session_name(folder)
        for key, state in _rows(backend, table):
            earlier = states.get(key)
            if earlier is not None:  # a cell that fails now here, now there
                state = State(state.outcome, f"{earlier.stage}, {state.stage}", earlier.cause)
            states[key] = state
    label = f"expectations at {revision}" if revision else "expectations as they are"
    return Side(label, states, expectations=True)


def _rows(backend: str, table: Mapping[str, Any]) -> Iterator[tuple[CellKey, State]]:
    for row in table.get("expect", []):
        names = row.get("entries", [row.get("entry", "")])
        state = State(
            row.get("outcome", Outcome.FAIL),
            row.get("stage", ", ".join(row.get("stages", ()))),
            row.get("match", ""),
            row.get("reason", ""),
        )
        for name in names:
            scope = row.get("precision", ANY), name, row.get("head", ANY)
            yield CellKey(backend, *scope), state


def _as_they_are(root: Path) -> Iterator[tuple[str, str]]:
    paths = [root / LIBRARY, *sorted(root.glob("backends/*/expectations.toml"))]
    for path in filter(Path.is_file, paths):
        yield str(path.relative_to(root)), path.read_text(encoding="utf-8")


def _at_revision(revision: str, root: Path) -> Iterator[tuple[str, str]]:
    listed = _git(root, "ls-tree", "-r", "--name-only", revision, "--", "backends", LIBRARY)
    for name in listed.splitlines():
        if name == LIBRARY or re.fullmatch(r"backends/\w+/expectations\.toml", name):
            yield name, _git(root, "show", f"{revision}:{name}")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise HarnessError(f"git cannot be run: {error}. Fix: install git") from error
    if done.returncode:
        found = done.stderr.strip().splitlines()
        raise HarnessError(
            f"expected a revision of this repository after {REVISION}, found "
            f"{found[-1] if found else 'an error of git'}. Fix: git log --oneline shows them"
        )
    return done.stdout
