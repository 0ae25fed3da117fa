"""News of a run for its summary: the cells that ended otherwise than when they ran last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.contract import GREEN, CellResult
from harness.report import words
from harness.results.changed_cells import CellKey, Change, Kind, State, changes
from harness.results.last_results import LastResult
from harness.toolkit import printable

#: Changed cells that are listed; `-v` lists them all.
SHOWN = 12

#: Kinds of change in the order of the lines. A cell that is new to the results is no news.
KINDS = (Kind.REGRESSED, Kind.FLAKY, Kind.CHANGED, Kind.IMPROVED)


def news(
    results: Iterable[CellResult],
    last: Mapping[tuple[str, str, str], LastResult],
    *,
    everything: bool = False,
) -> list[str]:
    """Lines on what changed since the cells ran last; none where none of them has run before.

    Args:
        results: of this run.
        last: the last result of each cell before it, by (entry, head, precision).
        everything: whether all changed cells are listed.
    """
    now = {_key(result): _state(result) for result in results}
    before = {
        CellKey("", precision, entry, head): _state(one.result)
        for (entry, head, precision), one in last.items()
    }
    before = {key: state for key, state in before.items() if key in now}
    if not before:
        return []
    found = [one for kind in KINDS for one in changes(before, now) if one.kind is kind]
    counts = {kind: sum(one.kind is kind for one in found) for kind in KINDS}
    told = ", ".join(f"{count} {words.KINDS[kind]}" for kind, count in counts.items() if count)
    lines = [f"since the last run: {told or 'nothing changed'}"]
    shown = found if everything else found[:SHOWN]
    width = max((len(words.KINDS[one.kind]) for one in shown), default=0)
    lines += [f"  {words.KINDS[one.kind]:<{width}}  {_told(one)}" for one in shown]
    if len(found) > len(shown):
        lines.append(f"  and {len(found) - len(shown)} more (`-v` shows them)")
    return lines


def _key(result: CellResult) -> CellKey:
    return CellKey("", result.precision, result.entry, result.head)


def _state(result: CellResult) -> State:
    return State(result.outcome, result.stage, result.cause, result.reason, result.verdict in GREEN)


def _told(change: Change) -> str:
    """The cell with its failure: the one that is there now, or the one that is gone."""
    precision = "" if change.key.precision == "default" else f" {change.key.precision}"
    name = f"{change.key.name}{precision}"
    if change.after is None or change.after.passes:
        return name
    return f"{name}: {change.after.told}: {printable.line(change.after.reason)}"
