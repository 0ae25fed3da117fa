"""Cells that changed from one set of results to another: regressed, improved, changed, new, gone.

A cell that is absent, as `mega` is where its pins are missing, counts as not run. A cell that
passes and fails now is `flaky`, whatever it did before: one pass before is no proof of a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.contract import GREEN, Outcome
from harness.contract import label as contract_label


class Kind(StrEnum):
    """Kind of a change, the most urgent first."""

    REGRESSED = "regressed"  # passed, and does not now
    CHANGED = "changed"  # failed, and fails otherwise now
    FLAKY = "flaky"  # passes and fails now
    NEW = "new"  # only after
    GONE = "gone"  # only before
    IMPROVED = "improved"  # did not pass, and does now


@dataclass(frozen=True, slots=True, order=True)
class CellKey:
    """Key of a cell over all results."""

    backend: str
    precision: str
    entry: str
    head: str

    @property
    def name(self) -> str:
        """The cell as `--models` takes it: `bert:fill-mask`."""
        return contract_label(self.entry, self.head)


@dataclass(frozen=True, slots=True)
class State:
    """One cell on one side: how it ended, and why.

    Attributes:
        outcome: of `harness.contract.Outcome`.
        stage: at which it ended.
        cause: the fingerprint of its failure, which groups cells; empty for a pass.
        reason: what a reader is told of it.
        green: whether it is as expected.
    """

    outcome: str
    stage: str = ""
    cause: str = ""
    reason: str = ""
    green: bool = True

    @property
    def passes(self) -> bool:
        """Whether the cell passed."""
        return self.outcome == Outcome.PASS

    @property
    def told(self) -> str:
        """The outcome with its stage: `fail at verify`."""
        return self.outcome if self.passes or not self.stage else f"{self.outcome} at {self.stage}"


@dataclass(frozen=True, slots=True)
class Change:
    """One cell that changed; a side on which it was not run is None."""

    kind: Kind
    key: CellKey
    before: State | None
    after: State | None

    @property
    def cause(self) -> str:
        """The cause that groups it: of the failure after, or of the one that is gone."""
        for state in (self.after, self.before):
            if state is not None and not state.passes:
                return state.cause or state.reason or state.told
        return ""

    @property
    def reason(self) -> str:
        """The reason of the failure after, or of the one that is gone; empty without one."""
        for state in (self.after, self.before):
            if state is not None and not state.passes:
                return state.reason
        return ""

    @property
    def worse(self) -> bool:
        """Whether the cell fails, newly or otherwise than before, and nobody expects that."""
        kinds = (Kind.REGRESSED, Kind.CHANGED, Kind.FLAKY, Kind.NEW)
        return self.kind in kinds and self.after is not None and not self.after.green


@dataclass(frozen=True, slots=True)
class Group:
    """The changes of one kind that have one cause."""

    kind: Kind
    cause: str
    changes: tuple[Change, ...]

    @property
    def worse(self) -> bool:
        """Whether any of them is worse."""
        return any(change.worse for change in self.changes)


def is_green(outcome: str, verdict: str) -> bool:
    """Whether a stored result was as expected; a pass always is, an unjudged failure never."""
    return outcome == Outcome.PASS or verdict in GREEN


def changes(before: Mapping[CellKey, State], after: Mapping[CellKey, State]) -> list[Change]:
    """All changes, the most urgent kind first, then in the order of the keys.

    Args:
        before: the cells of one side; absent ones are as if they were not there.
        after: those of the other side.
    """
    before, after = _run(before), _run(after)
    found = [
        Change(kind, key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if (kind := _kind(before.get(key), after.get(key))) is not None
    ]
    order = list(Kind)
    return sorted(found, key=lambda change: order.index(change.kind))


def grouped(found: Iterable[Change]) -> list[Group]:
    """Changes by kind and cause: kinds in their order, in each the largest group first."""
    groups: dict[tuple[Kind, str], list[Change]] = {}
    for change in found:
        groups.setdefault((change.kind, change.cause), []).append(change)
    order = list(Kind)
    ranked = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), -len(item[1])))
    return [Group(kind, cause, tuple(members)) for (kind, cause), members in ranked]


def common(before: Mapping[CellKey, State], after: Mapping[CellKey, State]) -> Sequence[CellKey]:
    """The cells that were run on both sides."""
    return sorted(_run(before).keys() & _run(after).keys())


def _run(states: Mapping[CellKey, State]) -> dict[CellKey, State]:
    return {key: state for key, state in states.items() if state.outcome != Outcome.ABSENT}


def _kind(before: State | None, after: State | None) -> Kind | None:
    if before is None or after is None:
        return Kind.NEW if before is None else Kind.GONE
    if after.outcome == Outcome.FLAKY:
        return None if before.outcome == Outcome.FLAKY else Kind.FLAKY
    if before.passes or after.passes:
        if before.passes and after.passes:
            return None
        return Kind.REGRESSED if before.passes else Kind.IMPROVED
    return None if _same_failure(before, after) else Kind.CHANGED


def _same_failure(before: State, after: State) -> bool:
    """Whether two failures have one cause, or the same reason: rules of fingerprints change."""
    if (before.outcome, before.stage) != (after.outcome, after.stage):
        return False
    return before.cause == after.cause or (bool(after.reason) and before.reason == after.reason)
