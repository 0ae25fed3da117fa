"""Results at real size: of cells with full sizes or a checkpoint, else predicted from slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.contract import MEASURED, Outcome
from harness.results.queries import Connection, dicts

#: The size of what slices tell of the whole model.
PREDICTED = "predicted"

#: A cell of one entry: backend, precision, head.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class RealSize:
    """The last result of a cell at real size.

    Attributes:
        size: `full`, `checkpoint`, or `predicted` for what slices of few layers tell of the whole.
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
            reason, peak_rss_mb, c.size <> 'wide' AS whole,
            any_value(value) FILTER (name = 'inference') AS inference,
            any_value(value) FILTER (name = '{MEASURED}median') AS median,
            any_value(value) FILTER (name = '{MEASURED}peak_memory') AS peak,
            any_value(value) FILTER (name = '{MEASURED}predicted') AS predicted,
            any_value(value) FILTER (name = '{MEASURED}predicted_memory') AS predicted_peak
        FROM latest_of_all_sizes AS c JOIN runs USING (run_id)
        LEFT JOIN metrics USING (run_id, entry, head, precision)
        WHERE entry = ? AND c.size <> 'tiny' AND outcome <> '{Outcome.ABSENT}'
        GROUP BY ALL HAVING whole OR predicted IS NOT NULL ORDER BY whole, run_id
        """,
        [entry],
    )
    # What ran as a whole comes last, and counts more than a prediction.
    return {(row["backend"], row["precision"], row["head"]): _real_size(row) for row in dicts(rows)}


def _real_size(row: Mapping[str, Any]) -> RealSize:
    median, peak, size = row["median"], row["peak"], row["size"]
    if size == "wide":
        median, peak, size = row["predicted"], row["predicted_peak"], PREDICTED
    else:
        peak = row["peak_rss_mb"] if peak is None else peak
    return RealSize(
        size=size,
        outcome=row["outcome"],
        fault=f"{row['outcome']} at {row['stage']}: {row['reason']}",
        seconds=row["inference"] if median is None else median,
        measured=median is not None,
        memory_mb=peak,
        device=row["device"],
        emulated=row["emulated"],
    )
