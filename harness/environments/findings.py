"""Findings of a bisection: the version or the pin by which the result of a cell changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version

from harness.environments import locks, swapped
from harness.environments.bisection import Bisection, Candidate, Fault
from harness.environments.locks import PinChange
from harness.environments.releases import between, releases, version_of
from harness.environments.search import Boundary, Standing


@dataclass(frozen=True, slots=True)
class Asked:
    """One candidate with its answer."""

    candidate: str
    judged: Standing
    reason: str
    attempts: int
    wavers: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """The boundary that a bisection has found.

    Attributes:
        package: whose version changed the result; empty where only several are known.
        good: the last good version; empty where it is no version.
        bad: the first bad one; in the order from good to bad, so older than `good` where the good
            end is the newer one.
        suspects: the candidates of which one is the first bad one; one alone where that is known.
        asked: every candidate that was asked, in the order from good to bad.
        others: further packages that differ between the environments at the boundary.
        alone: whether the package alone changes the result; None where that was not asked.
    """

    package: str
    good: str
    bad: str
    suspects: tuple[str, ...]
    asked: tuple[Asked, ...]
    others: tuple[str, ...] = ()
    alone: bool | None = None

    @property
    def certain(self) -> bool:
        """Whether one candidate is named."""
        return len(self.suspects) == 1

    @property
    def conclusion(self) -> str:
        """The finding in one sentence."""
        if not self.certain:
            return f"the change came with one of {', '.join(self.suspects)}"
        if not (self.good and self.bad):
            return f"{self.suspects[0]} changed the result"
        if Version(self.good) < Version(self.bad):
            return f"{self.package} {self.bad} is the first bad version, {self.good} the last good"
        return f"{self.package} {self.good} is the first good version, {self.bad} the last bad"


def of_versions(
    bisection: Bisection, package: str, good: str, bad: str, *, pre: bool = False
) -> Finding:
    """The version of a package that changed the result.

    The other packages are the backend's pins where those fit, else what uv resolves.

    Args:
        bisection: that asks.
        package: its name.
        good: a version that is good; newer than `bad` where a fix is looked for.
        bad: a version that is bad.
        pre: whether pre-releases in between are asked too.

    Raises:
        HarnessError: an end is no version, or the ends do not differ.
    """
    spec = bisection.question.spec

    def make(version: str) -> Callable[[], Path]:
        return lambda: swapped.interpreter(spec, package, version)

    row = _row(package, good, bad, pre)
    candidates = [Candidate(f"{package} {version}", make(version)) for version in row]
    fault, first, last = bisection.ends(candidates[0], candidates[-1])
    boundary = bisection.between(candidates, fault, first, last)
    return _finding(bisection, package, row, candidates, boundary)


def of_locks(bisection: Bisection, good: str, bad: str, *, pre: bool = False) -> Finding:
    """The package, and the version of it, by which one lock file gives another result than another.

    First the packages that differ change one after the other, from the good lock file to the bad
    one, each with those that it needs. Then the releases of the package that changed the result are
    asked, the other packages being as close to that lock file as fits.

    Args:
        bisection: that asks.
        good: the text of the good lock file.
        bad: the text of the bad one.
        pre: whether pre-releases in between are asked too.

    Raises:
        HarnessError: the lock files pin the same, or the ends do not differ.
    """
    groups = locks.groups(good, bad)
    changed = [[change.package for group in groups[:n] for change in group] for n in _upto(groups)]
    texts = [locks.mixed(good, bad, names) for names in changed]
    labels = ["the good lock", *(f"then {_name(group, good, bad)}" for group in groups)]
    labels[-1] = f"the bad lock: {labels[-1]}"
    candidates = [
        Candidate(label, _exactly(bisection, text))
        for label, text in zip(labels, texts, strict=True)
    ]
    fault, first, last = bisection.ends(candidates[0], candidates[-1])
    boundary = bisection.between(candidates, fault, first, last)
    asked = _asked(candidates, boundary)
    suspects = [change for group in groups[boundary.good : boundary.bad] for change in group]
    unsolved = Finding("", "", "", tuple(map(str, suspects)), asked)
    if not boundary.certain:
        return unsolved
    before = texts[boundary.good]
    for root in locks.roots(suspects, good, bad):
        row = _row(root.package, str(root.good), str(root.bad), pre)
        releases_of = [
            Candidate(f"{root.package} {version}", _near(bisection, root.package, version, before))
            for version in row
        ]
        end = bisection.ask(releases_of[-1], fault)
        if end.judged is Standing.BAD:
            inner = bisection.between(releases_of, fault, boundary.answers[boundary.good], end)
            found = _finding(bisection, root.package, row, releases_of, inner)
            alone = _alone(bisection, root, good, fault) if boundary.good else None
            return replace(found, asked=(*asked, *found.asked), alone=alone)
    return unsolved


def _upto(groups: Sequence[object]) -> range:
    return range(len(groups) + 1)


def _name(group: Sequence[PinChange], good: str, bad: str) -> str:
    """The changes that no other one of the group asks for, and how many more there are."""
    shown = locks.roots(group, good, bad) or group[:1]
    more = len(group) - len(shown)
    return ", ".join(map(str, shown)) + (f" with {more} that it needs" if more else "")


def _alone(bisection: Bisection, root: PinChange, good: str, fault: Fault) -> bool:
    only = Candidate(f"only {root}", _near(bisection, root.package, str(root.bad), good))
    return bisection.ask(only, fault).judged is Standing.BAD


def _exactly(bisection: Bisection, text: str) -> Callable[[], Path]:
    return lambda: swapped.interpreter_of(bisection.question.spec, text)


def _near(bisection: Bisection, package: str, version: str, text: str) -> Callable[[], Path]:
    return lambda: swapped.interpreter_near(bisection.question.spec, package, version, text)


def _row(package: str, good: str, bad: str, pre: bool) -> list[str]:
    ends = version_of(good, "--good"), version_of(bad, "--bad")
    return [str(version) for version in between(releases(package, pre=pre), *ends, pre=pre)]


def _finding(
    bisection: Bisection,
    package: str,
    row: Sequence[str],
    candidates: Sequence[Candidate],
    boundary: Boundary,
) -> Finding:
    made = bisection.pythons
    sides = [candidates[number].label for number in (boundary.good, boundary.bad)]
    others: tuple[str, ...] = ()
    if all(side in made for side in sides):
        before, after = (swapped.pins_of(made[side]) for side in sides)
        others = tuple(
            str(change)
            for change in locks.changed(before, after)
            if change.package != locks.name_of(package)
        )
    return Finding(
        package,
        row[boundary.good],
        row[boundary.bad],
        tuple(row[boundary.good + 1 : boundary.bad + 1]),
        _asked(candidates, boundary),
        others,
    )


def _asked(candidates: Sequence[Candidate], boundary: Boundary) -> tuple[Asked, ...]:
    return tuple(
        Asked(
            candidates[number].label, answer.judged, answer.reason, answer.attempts, answer.wavers
        )
        for number, answer in sorted(boundary.answers.items())
    )
