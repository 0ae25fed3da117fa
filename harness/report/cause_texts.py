"""Texts of a cause: first a sentence that a person wrote, else the telling line of its error."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.results.causes import Blocked, Cause
from harness.results.expectations import Failure
from harness.results.known_failures import FailureKey
from harness.toolkit import printable

#: Characters of a title that are shown.
TITLE = 220


@dataclass(frozen=True, slots=True)
class CauseText:
    """One cause in words. Faults about which a person wrote the same sentence are one.

    Attributes:
        id: eight hexadecimal digits of a SHA-256, which an address names: of the sentence, or of
            the fingerprint where nobody wrote one.
        title: the sentence or line that tells most.
        written: whether a person wrote it, as the reason of an expectation.
        telling: the line of the error, of the example.
        issue: a link to where it is reported; empty without one.
        owner: ours, upstream or never; empty where nobody has said.
        fingerprints: of its faults, those that block most entries first.
        entries: how many distinct entries it blocks.
        places: where it blocks them.
    """

    id: str
    title: str
    written: bool
    telling: str
    issue: str
    owner: str
    fingerprints: tuple[str, ...]
    entries: int
    places: tuple[Blocked, ...]

    @property
    def backends(self) -> list[str]:
        """The backends on which it blocks an entry, in the order of its places."""
        return list(dict.fromkeys(place.backend for place in self.places))


def texts(causes: Sequence[Cause], known: Mapping[FailureKey, Failure]) -> list[CauseText]:
    """The texts of causes, those that block most entries first.

    Args:
        causes: as `harness.results.causes` ranks them.
        known: the expectation that each failure fits.
    """
    reasons: dict[str, Counter[str]] = {}
    rows: dict[str, Failure] = {}
    for (_, fingerprint), failure in known.items():
        if failure.reason:
            reasons.setdefault(fingerprint, Counter())[failure.reason] += 1
            rows.setdefault(failure.reason, failure)
    groups: dict[tuple[bool, str], list[Cause]] = {}
    for cause in causes:
        counted = reasons.get(cause.name)
        sentence = max(counted, key=lambda one: (counted[one], one)) if counted else ""
        groups.setdefault((bool(sentence), sentence or cause.name), []).append(cause)
    found = [
        _text(name, members, rows[name] if written else None)
        for (written, name), members in groups.items()
    ]
    return sorted(found, key=lambda text: -text.entries)


def identity(name: str) -> str:
    """The id of a cause by its sentence or its fingerprint."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _text(name: str, causes: Sequence[Cause], failure: Failure | None) -> CauseText:
    places = tuple(place for cause in causes for place in cause.places)
    telling = printable.line(places[0].reason or causes[0].name, TITLE)
    return CauseText(
        id=identity(name),
        title=telling if failure is None else printable.line(name, TITLE),
        written=failure is not None,
        telling=telling,
        issue="" if failure is None else _link(failure.issue),
        owner="" if failure is None else failure.owner,
        fingerprints=tuple(cause.name for cause in causes),
        entries=len({entry for place in places for entry in place.entries}),
        places=places,
    )


def _link(text: str) -> str:
    """An address that a browser may open, or nothing."""
    return text if text.startswith(("https://", "http://")) else ""
