"""Culprits by cause: the faulty operator or submodule, with the entries that it blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.results.queries import Connection, dicts


@dataclass(frozen=True, slots=True)
class CulpritCause:
    """One faulty part on one backend, such as `roll after window_reverse`.

    Attributes:
        name: of the operators or the class.
        backend: on which it fails.
        entries: that it blocks, each once.
        example: the path of one such submodule, with its class.
        evidence: how that is known, in one line.
    """

    name: str
    backend: str
    entries: Sequence[str]
    example: str
    evidence: str


def culprit_causes(connection: Connection) -> list[CulpritCause]:
    """The faulty parts by the number of entries that each blocks, the largest first."""
    rows = dicts(
        connection.execute(
            """
            SELECT culprits.cause AS name, backend, list(DISTINCT entry ORDER BY entry) AS entries,
                arg_min(entry || ': ' || module || ' (' || kind || ')', (position, precision))
                    AS example,
                arg_min(evidence, (position, precision)) AS evidence
            FROM latest JOIN culprits USING (run_id, entry, head, precision)
            WHERE kind <> '' GROUP BY ALL ORDER BY len(entries) DESC, name, backend
            """
        )
    )
    return [CulpritCause(**row) for row in rows]
