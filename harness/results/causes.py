"""Causes of failure: each fault with the entries that it blocks, over all backends.

Every failure of a cell counts, those after its first one too.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract import Outcome
from harness.results.queries import NOT_GREEN, Connection, dicts

#: A failure without a fingerprint is a cause of its own, named by what is known of it.
_CAUSE = "coalesce(nullif(cause, ''), nullif(reason, ''), outcome || ' at ' || stage)"


@dataclass(frozen=True, slots=True)
class Blocked:
    """The entries that one cause blocks on one backend, at one stage, with an example."""

    backend: str
    stage: str
    outcome: str
    entries: tuple[str, ...]
    unexpected: int
    example: str
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One fault and all the entries that it blocks, over all backends."""

    name: str
    entries: int
    places: tuple[Blocked, ...]


def causes(connection: Connection) -> list[Cause]:
    """The causes by the number of entries that each blocks, the largest first."""
    rows = dicts(
        connection.execute(
            f"""
            WITH failed AS (
                SELECT entry, precision, position, backend, verdict, stage, outcome, reason, cause,
                    error
                FROM latest WHERE outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
                UNION ALL
                SELECT entry, precision, position, backend, verdict, further.stage, further.outcome,
                    further.reason, further.cause, further.error
                FROM latest JOIN further_failures AS further USING (run_id, entry, head, precision)
            ), places AS (
                SELECT {_CAUSE} AS name, backend, stage, outcome,
                    list(DISTINCT entry ORDER BY entry) AS entries,
                    count(*) FILTER ({NOT_GREEN}) AS unexpected,
                    arg_min(entry, (position, precision)) AS example,
                    arg_min(reason, (position, precision)) AS reason,
                    arg_min(error, (position, precision)) AS error
                FROM failed GROUP BY ALL
            ), ranked AS (
                SELECT {_CAUSE} AS name, count(DISTINCT entry) AS blocked
                FROM failed GROUP BY ALL
            )
            SELECT name, blocked, backend, stage, outcome, entries, unexpected, example, reason,
                error
            FROM places JOIN ranked USING (name)
            ORDER BY blocked DESC, name, len(entries) DESC, backend, stage, outcome
            """
        )
    )
    found: dict[str, tuple[int, list[Blocked]]] = {}
    for row in rows:
        name, blocked = row.pop("name"), row.pop("blocked")
        row["entries"] = tuple(row["entries"])
        found.setdefault(name, (blocked, []))[1].append(Blocked(**row))
    return [Cause(name, blocked, tuple(places)) for name, (blocked, places) in found.items()]
