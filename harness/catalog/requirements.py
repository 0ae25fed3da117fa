"""Requirements of an entry: whether this environment has the packages that it names."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from harness.contract import Entry


def unmet_requirements(entry: Entry) -> str | None:
    """The reason why this environment lacks the entry's packages; None where it has them.

    Returns:
        A line that starts with `requires `, as in `requires transformers<=4.57.6, found 5.23.0`.
    """
    unmet = []
    for text in entry.requires:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            unmet.append(f"requires {text}, not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            unmet.append(f"requires {text}, found {found}")
    return "; ".join(unmet) or None
