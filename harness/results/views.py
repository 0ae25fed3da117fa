"""SQL views of the brought-together results, for questions that no command answers.

`latest` is a table of `harness.results.merged` already: the last result of each cell of tiny
models. The views are on it and on the history (`harness.results.history_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.contract import Outcome
from harness.results.queries import NOT_GREEN, Connection

#: Views by name, each with a line for its reader and its SQL.
VIEWS: Mapping[str, tuple[str, str]] = {
    "matrix": (
        "one row a cell: outcome, verdict, score, seconds of an inference, reason",
        """
        SELECT family, entry, head, backend, precision, outcome, stage, verdict, score,
            inference, latest.seconds, peak_rss_mb, parameters, started_at, reason
        FROM latest LEFT JOIN (
            SELECT run_id, entry, head, precision, any_value(value) AS inference
            FROM metrics WHERE name = 'inference' GROUP BY ALL
        ) USING (run_id, entry, head, precision)
        ORDER BY family, position, head <> 'base', head, backend, precision
        """,
    ),
    "trend": (
        "one row a run and precision: cells, judged, passed, unexpected, median of inferences",
        """
        SELECT started_at, backend, precision, cells, judged, passed, unexpected,
            median_inference, versions, run_id
        FROM run_totals JOIN runs USING (run_id) ORDER BY backend, precision, started_at
        """,
    ),
    "causes": (
        "one row a cause, backend and stage: how many entries it blocks, and which",
        f"""
        SELECT cause, backend, outcome, stage, count(DISTINCT entry) AS blocked,
            count(*) FILTER ({NOT_GREEN}) AS unexpected,
            list(DISTINCT entry ORDER BY entry) AS entries, any_value(reason) AS reason
        FROM latest WHERE outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
        GROUP BY cause, backend, outcome, stage ORDER BY blocked DESC, cause, backend
        """,
    ),
}

#: Tables that can be asked too, each with a line for its reader.
TABLES: Mapping[str, str] = {
    "latest": "one row a cell with all that is stored of its last result",
    "changes": "one row a cell and run in which its outcome, stage, verdict or cause changed",
    "runs": "one row a run: backend, device, versions, host, arguments",
    "metrics": "one row a cell and measure: name, value, unit",
}


def create(connection: Connection) -> None:
    """Create the views, and bar the way to files, extensions and settings for good."""
    for name, (_, query) in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {query}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
