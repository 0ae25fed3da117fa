"""Lock files: the pins of a `requirements.txt`, by package, and mixtures of two of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.markers import Marker

#: The Python of every environment.
PYTHON = "3.11"

#: How the line of a package begins that lies in a folder of this project, as natten's stand-in.
FOLDER = "-e "

#: A pin at the beginning of a line: the name, perhaps with extras, and the version.
_PIN = re.compile(r"([\w.-]+)(\[[\w,.-]+\])?==([^\s;]+)")


@dataclass(frozen=True, slots=True)
class PinChange:
    """One package that two lock files pin in other versions; None where a file lacks it."""

    package: str
    good: str | None
    bad: str | None

    def __str__(self) -> str:
        return f"{self.package} {self.good or 'absent'} -> {self.bad or 'absent'}"


def name_of(package: str) -> str:
    """The normalized name of a package (PEP 503): `huggingface-hub` for `Huggingface_Hub`."""
    return re.sub(r"[-_.]+", "-", package).lower()


def pins(text: str) -> dict[str, str]:
    """The lines with pins that hold in an environment of this machine, by normalized name."""
    return {
        name_of(found[1]): line
        for line in text.splitlines()
        if (found := _PIN.match(line)) and _holds(line.partition(";")[2].strip())
    }


def versions(text: str) -> dict[str, str]:
    """The pinned versions, by normalized name."""
    return {name: _version(line) for name, line in pins(text).items()}


def changed(good: str, bad: str) -> list[PinChange]:
    """The packages that two lock files pin differently, by name."""
    before, after = versions(good), versions(bad)
    return [
        PinChange(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def mixed(good: str, bad: str, packages: Iterable[str]) -> str:
    """The good lock file, with the pins that the bad one has for some packages.

    Packages of this project's own folders stay as the good one has them.

    Args:
        good: its text.
        bad: the text of the other one.
        packages: by normalized name; one that the bad file lacks is left out.
    """
    lines, others = pins(good), pins(bad)
    for name in packages:
        lines.pop(name, None)
        if name in others:
            lines[name] = others[name]
    folders = [line for line in good.splitlines() if line.startswith(FOLDER)]
    pinned = [line for _, line in sorted(lines.items())]
    return "".join(f"{line}\n" for line in [*folders, *pinned])


def needed_by(text: str) -> dict[str, set[str]]:
    """The packages of a lock file that need each package, as its comments `# via` say."""
    found: dict[str, set[str]] = {}
    current = ""
    for line in text.splitlines():
        if pin := _PIN.match(line):
            current = name_of(pin[1])
            found[current] = set()
        elif current and line.lstrip().startswith("#"):
            words = line.strip().lstrip("#").split()
            found[current].update(map(name_of, words[-1:]))
    return {name: {one for one in others if one in found} for name, others in found.items()}


def groups(good: str, bad: str) -> list[tuple[PinChange, ...]]:
    """The packages that two lock files pin differently, together where one needs the other.

    A package and what it needs change at once: transformers does not run with the huggingface-hub
    of an older one. The members of a group are in the order of their names, and so are the groups.

    Args:
        good: the text of the one file, with comments `# via` as uv writes them; without them, every
            package is a group of its own.
        bad: the text of the other one.
    """
    changes = {change.package: change for change in changed(good, bad)}
    linked: dict[str, set[str]] = {name: {name} for name in changes}
    for text in (good, bad):
        for name, others in needed_by(text).items():
            for other in others & changes.keys() if name in changes else ():
                joined = linked[name] | linked[other]
                for member in joined:
                    linked[member] = joined
    unique = {min(members): members for members in linked.values()}
    return [tuple(changes[name] for name in sorted(unique[first])) for first in sorted(unique)]


def roots(group: Iterable[PinChange], good: str, bad: str) -> list[PinChange]:
    """The members of a group that no other member needs, and that both files pin."""
    members = {change.package: change for change in group}
    needed = {
        name
        for text in (good, bad)
        for name, others in needed_by(text).items()
        if name in members and others & members.keys() - {name}
    }
    return [
        change
        for name, change in members.items()
        if name not in needed and change.good is not None and change.bad is not None
    ]


def loosened(requirements: str) -> str:
    """The text of a `requirements.in` that asks for the same packages in any version."""
    found = []
    for line in requirements.splitlines():
        told, _, marker = line.partition("#")[0].partition(";")
        if name := re.match(r"\s*([\w.-]+(?:\[[\w,.-]+\])?)", told):
            found.append(f"{name[1]} ;{marker}".rstrip(" ;") if marker else name[1])
    return "".join(f"{line}\n" for line in found if not line.startswith("-"))


def _holds(marker: str) -> bool:
    python = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    return not marker or Marker(marker).evaluate(python)


def _version(line: str) -> str:
    found = _PIN.match(line)
    assert found is not None
    return found[3]
