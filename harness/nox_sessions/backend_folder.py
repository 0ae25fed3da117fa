"""Backends as nox sees them: what a `backend.toml` says of a session, and what a machine lacks.

Imports the standard library only, as all of this package beside nox: `nox -l` answers at once.
"""

from __future__ import annotations

import glob
import importlib.util
import platform
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Platforms of a backend that names none, as `sys.platform` says them.
PLATFORMS = ("linux", "darwin", "win32")

#: The kinds of values in a `backend.toml`, in words.
KINDS: dict[type, str] = {str: "a string", list: "a list of strings", dict: "a table"}

#: The distribution that this module is of, where it is installed.
OURS = "hf-hardware-matrix"

#: The group of entry points by which other distributions name their backends.
GROUP = "hf_hardware_matrix.backends"


class BackendFolder(NamedTuple):
    """A backend's folder, as far as sessions need its `backend.toml`."""

    folder: Path
    title: str
    torch_backend: str = ""
    python: tuple[str, ...] = ()
    platforms: tuple[str, ...] = PLATFORMS
    hardware: Mapping[str, Any] = {}
    runs_on: str | list[str] = ""  # a GitHub runner's labels; empty: none is known
    distribution: str = ""  # that has an entry point for it; empty: the folder stands for itself

    @property
    def name(self) -> str:
        """The session's name: `torch_cpu` is `torch-cpu`."""
        return self.folder.name.replace("_", "-")

    @property
    def requirements(self) -> Path:
        """The compiled pins."""
        return self.folder / "requirements.txt"


class Machine(NamedTuple):
    """Facts of a machine that a hardware hint is held against; made anew in tests."""

    platform: str  # sys.platform
    architecture: str  # platform.machine()
    exists: Callable[[str], bool]  # whether a glob matches anything

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        return cls(
            sys.platform,
            platform.machine().lower(),
            lambda pattern: next(glob.iglob(pattern), None) is not None,
        )


class Missing(NamedTuple):
    """Why a backend cannot run on this machine, and what to do about it."""

    needs: str
    reason: str
    fix: str
    replaceable: bool = True  # by the CPU, with `--fallback`: its packages can be installed


def check(path: Path, table: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Leave nox with a message where a key of the table is not of its kind."""
    for key, kind in kinds.items():
        value = table.get(key, kind())
        strings = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if not isinstance(value, kind) or not strings:
            wanted = KINDS[kind]
            sys.exit(f"{path}: expected {key} to be {wanted}, found {value!r}. Fix that line.")


def read_backend(path: Path) -> BackendFolder:
    """The backend that a `backend.toml` describes; the keys of the harness are left to it.

    Raises:
        SystemExit: the file is no TOML, or a key is missing or wrong; says how to fix it.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # also of too many digits, or brackets
        sys.exit(f"{path}: expected a TOML file, found: {error}. Fix that line.")
    check(path, facts, {"title": str, "torch_backend": str, "python": list, "platforms": list})
    check(path, facts, {"hardware": dict})
    hint = facts.get("hardware", {})
    check(path, hint, {"paths": list, "platform": str, "found": str, "fix": str})
    if not facts.get("title"):
        sys.exit(f'{path}: expected title = "...", found none. Add it: `nox -l` shows it.')
    if hint and not (hint.get("found") and hint.get("fix") and hint.keys() & {"paths", "platform"}):
        sys.exit(f"{path}: expected found, fix, and paths or platform in [hardware]. Add them.")
    platforms = tuple(facts.get("platforms") or PLATFORMS)
    if unknown := set(platforms) - set(PLATFORMS):
        sys.exit(f"{path}: expected platforms among {PLATFORMS}, found {unknown}. Rename it.")
    plain = not hint and "linux" in platforms
    return BackendFolder(
        path.parent,
        facts["title"],
        facts.get("torch_backend", ""),
        tuple(facts.get("python", ())),
        platforms,
        hint,
        facts.get("runs_on", "ubuntu-latest" if plain else ""),
    )


def find_backends(folder: Path) -> list[BackendFolder]:
    """The backends of a folder: each folder in it with a `backend.toml`, `_folders` left out."""
    found = sorted(folder.glob("[!_.]*/backend.toml"))
    return [read_backend(path) for path in found]


def named_backends() -> list[BackendFolder]:
    """The backends of distributions in nox's own environment, by their entry points.

    Raises:
        SystemExit: an entry point names no package with a `backend.toml`; says how to fix it.
    """
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            spec = importlib.util.find_spec(entry.value)
        except ImportError:
            spec = None
        places = list(spec.submodule_search_locations or ()) if spec else []
        paths = [Path(place, "backend.toml") for place in places]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            sys.exit(
                f"entry point {entry.name}: expected a package {entry.value} with a backend.toml, "
                "found none. Fix: install its distribution again, or correct its pyproject.toml"
            )
        distribution = entry.dist.name if entry.dist else ""
        found.append(read_backend(path)._replace(distribution=distribution))
    return found


def missing(backend: BackendFolder, machine: Machine) -> Missing | None:
    """The hardware that this machine lacks, by the backend's cheap hint; None: it is here."""
    if machine.platform not in backend.platforms:
        wanted = " or ".join(backend.platforms)
        return Missing(
            wanted,
            f"{backend.name} runs on {wanted}, and this machine is {machine.platform}.",
            f"run it on {wanted}.",
            replaceable=False,
        )
    hint = backend.hardware
    paths = hint.get("paths", [])
    here = f"{machine.platform}-{machine.architecture}"
    if not hint or hint.get("platform") == here or any(map(machine.exists, paths)):
        return None
    wanted = ", ".join([*paths, *([hint["platform"]] if "platform" in hint else [])])
    return Missing(
        hint["found"],
        f"{backend.name} needs {hint['found']}: expected one of {wanted}, found {here} without.",
        hint["fix"],
    )


def describe(backend: BackendFolder, lack: Missing | None) -> str:
    """The backend's line in `nox -l`."""
    if lack:
        return f"{backend.title}: skipped here, needs {lack.needs}"
    return f"{backend.title}: ready, {backend.hardware.get('found', 'no special hardware needed')}"


def interpreter(backend: BackendFolder, running: str) -> str | None:
    """The Python to run the backend on; None is the one that nox runs on, wanted where it can be.

    Args:
        backend: its `python` lists the versions that it supports, oldest first; none: any.
        running: nox's own version, `3.11`.
    """
    if not backend.python or running in backend.python:
        return None
    return backend.python[-1]
