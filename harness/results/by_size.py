"""Results of models with published widths beside those of the same cells when tiny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract import Outcome
from harness.results.merged import TINY, Gathered
from harness.results.queries import dicts

#: Outcomes that say nothing of a backend at a size: the cell was not judged there.
UNJUDGED = frozenset(
    {Outcome.ABSENT, Outcome.TOO_LARGE, Outcome.TIMEOUT, Outcome.OOM, Outcome.UNTESTED}
)


@dataclass(frozen=True, slots=True)
class SizedCell:
    """The outcomes of one cell at two sizes.

    Attributes:
        entry: of the model list.
        head: of it.
        backend: its name.
        precision: of the backend.
        tiny: the outcome of the tiny model, with its stage.
        other: that of the other size.
        reason: of the other one's failure; of the tiny one's where the other passes.
        alike: whether both pass, or fail at the same stage.
        judged: whether both were judged: neither was too large, out of time, ...
    """

    entry: str
    head: str
    backend: str
    precision: str
    tiny: str
    other: str
    reason: str
    alike: bool
    judged: bool


def compared(gathered: Gathered, size: str) -> list[SizedCell]:
    """The cells that have a result at both sizes, by backend, precision and entry.

    Args:
        gathered: all results.
        size: the other one, `wide` or `full`.
    """
    rows = dicts(
        gathered.connection.execute(
            """
            SELECT entry, head, backend, precision,
                tiny.outcome AS tiny, tiny.stage AS tiny_stage, tiny.reason AS tiny_reason,
                other.outcome AS other, other.stage AS other_stage, other.reason AS other_reason
            FROM latest_of_all_sizes AS tiny JOIN latest_of_all_sizes AS other
                USING (entry, head, backend, precision)
            WHERE tiny.size = ? AND other.size = ?
            ORDER BY backend, precision <> 'default', precision, tiny.position, head <> 'base', head
            """,
            [TINY, size],
        )
    )
    return [_cell(row) for row in rows]


def _cell(row: Mapping[str, Any]) -> SizedCell:
    passes = row["tiny"] == row["other"] == Outcome.PASS
    same = (row["tiny"], row["tiny_stage"]) == (row["other"], row["other_stage"])
    return SizedCell(
        entry=row["entry"],
        head=row["head"],
        backend=row["backend"],
        precision=row["precision"],
        tiny=_words(row["tiny"], row["tiny_stage"]),
        other=_words(row["other"], row["other_stage"]),
        reason=row["tiny_reason" if row["other"] == Outcome.PASS else "other_reason"],
        alike=passes or same,
        judged=not {row["tiny"], row["other"]} & UNJUDGED,
    )


def _words(outcome: str, stage: str) -> str:
    return outcome if outcome in (Outcome.PASS, Outcome.ABSENT) else f"{outcome} at {stage}"


@dataclass(frozen=True, slots=True)
class SizeAgreement:
    """How often a backend's outcome of a tiny model is that of another size.

    Attributes:
        backend: its name.
        precision: of the backend.
        both: cells with a result at both sizes.
        judged: those that were judged at both.
        alike: of the judged ones, those with the same outcome.
    """

    backend: str
    precision: str
    both: int
    judged: int
    alike: int


def agreements(cells: Sequence[SizedCell]) -> list[SizeAgreement]:
    """The agreement of each backend and precision, in the order of the cells."""
    columns = dict.fromkeys((cell.backend, cell.precision) for cell in cells)
    found = []
    for backend, precision in columns:
        own = [cell for cell in cells if (cell.backend, cell.precision) == (backend, precision)]
        judged = [cell for cell in own if cell.judged]
        alike = sum(cell.alike for cell in judged)
        found.append(SizeAgreement(backend, precision, len(own), len(judged), alike))
    return found
