"""Last result of each cell in a results file, with the key of all that it follows from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import duckdb

from harness.contract import CellFailure, CellResult, Outcome, Stage

_LAST = """
WITH last AS (
    SELECT cells.*, started_at, sequence, git_commit, lock_sha256, versions, seed, arguments
    FROM cells JOIN runs USING (run_id)
    WHERE backend = ? AND fallback = ? AND size = ? AND faults = ''
    QUALIFY row_number() OVER (PARTITION BY entry, head, precision ORDER BY sequence DESC) = 1
)
SELECT last.run_id, entry, family, architecture, head, precision, stage, outcome, reason, cause,
       started_at, key, cell_keys.code, files, git_commit, lock_sha256, versions, seed, arguments
FROM last LEFT JOIN cell_keys USING (run_id, entry, head, precision)
     LEFT JOIN code_sets ON code_sets.digest = cell_keys.code
"""

_FURTHER = """
SELECT run_id, entry, head, precision, stage, outcome, reason, cause FROM further_failures
ORDER BY number
"""


@dataclass(frozen=True)
class ResultKey:
    """Digest of all that a result follows from, and the files that it follows from, by label."""

    digest: str
    files: tuple[str, ...]

    @cached_property
    def code(self) -> str:
        """The digest of the labels: many cells share one list."""
        return hashlib.sha256(json.dumps(self.files).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that a result is of.

    Attributes:
        commit: of the checkout, with `-dirty` where it had changes; empty of an installed package.
        lock: SHA-256 of the pins.
        versions: of packages, by name.
        seed: of weights and inputs.
        arguments: of the session.
    """

    commit: str
    lock: str
    versions: Mapping[str, str]
    seed: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LastResult:
    """The last result of a cell: its outcome and failures, when it was, its key, and its run."""

    result: CellResult
    since: datetime  # UTC, when its run began
    key: ResultKey | None  # None of results of older versions, and of processes that were killed
    origin: Origin


def read(
    connection: duckdb.DuckDBPyConnection, asked: Sequence[str]
) -> dict[tuple[str, str, str], LastResult]:
    """The last result of each cell, by (entry, head, precision).

    Args:
        connection: to a results file of this schema.
        asked: backend, fallback and size of the models.
    """
    further: dict[tuple[str, ...], list[CellFailure]] = {}
    for *cell, stage, outcome, reason, cause in connection.execute(_FURTHER).fetchall():
        failure = CellFailure(Stage(stage), Outcome(outcome), reason, cause, "")
        further.setdefault(tuple(cell), []).append(failure)
    found = {}
    for row in connection.execute(_LAST, list(asked)).fetchall():
        run_id, entry, family, architecture, head, precision, stage, outcome, *rest = row
        reason, cause, started_at, key, _, files, commit, lock, versions, seed, arguments = rest
        result = CellResult(
            entry, family, architecture, head, precision, Stage(stage), Outcome(outcome)
        )
        result.reason, result.cause = reason, cause
        result.further = further.get((run_id, entry, head, precision), [])
        known = ResultKey(key, _labels(files)) if key is not None and files is not None else None
        since = started_at.replace(tzinfo=UTC)
        named = _mapping(versions)
        origin = Origin(commit or "", lock or "", named, seed or 0, _labels(arguments or ""))
        found[entry, head, precision] = LastResult(result, since, known, origin)
    return found


def _mapping(text: str | None) -> dict[str, str]:
    """The texts of a stored mapping; none of a text that is no such mapping."""
    try:
        found: Any = json.loads(text or "")
    except ValueError:
        return {}
    return {str(key): str(one) for key, one in found.items()} if isinstance(found, dict) else {}


def _labels(files: str) -> tuple[str, ...]:
    """The texts of a stored list, as of labels; none of a text that is no such list."""
    try:
        found: Any = json.loads(files)
    except ValueError:
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()
