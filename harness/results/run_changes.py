"""Differences between two runs: pins, device, lock, seed, commit and host."""

from __future__ import annotations

from dataclasses import dataclass

from harness.results.queries import RunRow

#: In place of the version of a package that a run did not have.
ABSENT = "absent"

#: Characters of a hash that are shown.
SHORT = 8


@dataclass(frozen=True, slots=True)
class RunChange:
    """One thing in which two runs differ, such as the version of a package."""

    name: str
    before: str
    after: str


def environment_changes(before: RunRow, after: RunRow) -> list[RunChange]:
    """Versions, device, lock and seed that two runs differ in.

    Two locks count where they are all that differs: other versions say so themselves.
    """
    found = [
        RunChange(name, before.versions.get(name, ABSENT), after.versions.get(name, ABSENT))
        for name in sorted({*before.versions, *after.versions})
        if before.versions.get(name) != after.versions.get(name)
    ]
    if before.device != after.device:
        found.append(RunChange("device", before.device, after.device))
    if before.lock_sha256 != after.lock_sha256 and not found:
        found.append(RunChange("lock", before.lock_sha256[:SHORT], after.lock_sha256[:SHORT]))
    if before.seed != after.seed:
        found.append(RunChange("seed", str(before.seed), str(after.seed)))
    return found


def all_changes(before: RunRow, after: RunRow) -> list[RunChange]:
    """The same, and the commit, the host and the arguments that two runs differ in."""
    found = environment_changes(before, after)
    if before.git_commit != after.git_commit:
        found.append(RunChange("commit", before.git_commit[:12], after.git_commit[:12]))
    if before.host != after.host:
        found.append(RunChange("host", before.host, after.host))
    dropped, added = (
        " ".join(argument for argument in _asked(one) if argument not in other.arguments)
        for one, other in ((before, after), (after, before))
    )
    if dropped or added:
        found.append(RunChange("arguments", dropped, added))
    return found


def _asked(run: RunRow) -> list[str]:
    """The arguments of a run, but for where its results went."""
    return [argument for argument in run.arguments if not argument.startswith("--results")]
