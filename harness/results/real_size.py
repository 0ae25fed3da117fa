"""Results at real size: the last of each cell that ran with its full sizes or its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contract import MEASURED, Outcome
from harness.results.queries import Connection, dicts

#: A cell of one entry: backend, precision, head.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class RealSize:
    """The last result of a cell at real size.

    Attributes:
        size: `full`, or `checkpoint`.
        outcome: of the cell.
        fault: with its stage and reason.
        seconds: of one inference: measured (`--measure`), else the median of a few.
        measured: whether these seconds are of a measured cell.
        memory_mb: the peak of its process.
        device: of the run.
        emulated: whether the device is.
    """

    size: str
    outcome: str
    fault: str
    seconds: float | None
    measured: bool
    memory_mb: float | None
    device: str
    emulated: bool


def of_entry(connection: Connection, entry: str) -> Mapping[Key, RealSize]:
    """The results at real size of one entry, by backend, precision and head.

    A later result of the small model takes nothing from them.

    Args:
        connection: the results, brought together.
        entry: the name.
    """
    rows = connection.execute(
        f"""
        SELECT run_id, c.backend, c.precision, c.head, c.size, device, emulated, outcome, stage,
            reason, peak_rss_mb,
            any_value(value) FILTER (name = 'inference') AS inference,
            any_value(value) FILTER (name = '{MEASURED}median') AS median,
            any_value(value) FILTER (name = '{MEASURED}peak_memory') AS peak
        FROM latest_of_all_sizes AS c JOIN runs USING (run_id)
        LEFT JOIN metrics USING (run_id, entry, head, precision)
        WHERE entry = ? AND c.size IN ('full', 'checkpoint') AND outcome <> '{Outcome.ABSENT}'
        GROUP BY ALL ORDER BY run_id
        """,
        [entry],
    )
    return {
        (row["backend"], row["precision"], row["head"]): RealSize(
            size=row["size"],
            outcome=row["outcome"],
            fault=f"{row['outcome']} at {row['stage']}: {row['reason']}",
            seconds=row["inference"] if row["median"] is None else row["median"],
            measured=row["median"] is not None,
            memory_mb=row["peak_rss_mb"] if row["peak"] is None else row["peak"],
            device=row["device"],
            emulated=row["emulated"],
        )
        for row in dicts(rows)
    }
