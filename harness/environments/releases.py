"""Releases of a package, as the package index or a folder of wheels has them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from harness.contract import HarnessError
from harness.environments import locks, swapped
from harness.environments.swapped import NotInstalled

#: The line of `pip index versions` that lists the releases.
_LISTED = re.compile(r"^Available versions: (.+)$", re.MULTILINE)


def releases(package: str, *, pre: bool = False) -> list[Version]:
    """The releases that can be installed on this machine, the oldest first.

    pip lists them, run by uv. pip asks the package index and the folders of wheels that its own
    settings name, and leaves out releases that were withdrawn or need another Python.

    Args:
        package: its name.
        pre: whether to list pre-releases too.

    Raises:
        HarnessError: pip fails, or finds none.
    """
    command = ["uv", "tool", "run", "--quiet", "--python", locks.PYTHON, "pip", "index"]
    fix = "Fix: correct the name, or the index or folder that PIP_INDEX_URL or PIP_FIND_LINKS names"
    try:
        printed = swapped.run_uv([*command, "versions", package, *(["--pre"] if pre else [])])
    except NotInstalled as error:
        raise HarnessError(f"expected releases of {package}, {error.found}. {fix}") from error
    found = _LISTED.search(printed)
    if found is None:
        raise HarnessError(f"expected releases of {package}, found none. {fix}")
    return sorted(map(Version, found[1].split(", ")))


def version_of(text: str, option: str) -> Version:
    """The version that an option gives.

    Raises:
        HarnessError: the text is no version.
    """
    try:
        return Version(text)
    except InvalidVersion as error:
        raise HarnessError(
            f"expected {option} to be a version, as 5.12.0, or a file of pins, found {text!r}. "
            "Fix: correct it"
        ) from error


def between(known: Iterable[Version], good: Version, bad: Version, *, pre: bool) -> list[Version]:
    """The versions from a good one to a bad one, both included, in that order.

    Args:
        known: the releases.
        good: the one end; newer than `bad` where a fix is looked for.
        bad: the other end.
        pre: whether pre-releases in between count.
    """
    low, high = sorted((good, bad))
    inside = {v for v in known if low < v < high and (pre or not v.is_prerelease)}
    # Builds of one version, as 2.13.0 and 2.13.0+cpu, are one release.
    public = {Version(version.public): version for version in sorted(inside)}
    for end in (good, bad):
        public.pop(Version(end.public), None)
    ordered = sorted([*public, low, high])
    return ordered if good < bad else ordered[::-1]
