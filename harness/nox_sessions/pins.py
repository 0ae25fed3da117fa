"""Compilation of pins: a backend's `requirements.in` to its `requirements.txt`, by uv."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import nox

from harness.nox_sessions.backend_folder import BackendFolder
from harness.nox_sessions.environment import Environment, shown, wheel_index


def select(
    posargs: Sequence[str], backends: Iterable[BackendFolder]
) -> tuple[list[BackendFolder], list[str]]:
    """The backends that posargs name (all when they name none), and the remaining posargs.

    `torch_cpu`, as the folder is called, means `torch-cpu`.
    """
    by_name = {backend.name: backend for backend in backends}
    spelt = {word: word.replace("_", "-") for word in posargs}
    named = [by_name[spelt[word]] for word in posargs if spelt[word] in by_name]
    return named or list(by_name.values()), [w for w in posargs if spelt[w] not in by_name]


def compile_pins(
    run: Callable[[Sequence[str], Mapping[str, str | None]], object],
    backend: BackendFolder,
    source: Path,
    old: str,
    arguments: Sequence[str] = (),
    harness: Sequence[str] = (),
) -> str:
    """The text of a `requirements.txt` that uv compiles.

    Args:
        run: runs a command, with uv at hand, and with changes of the environment.
        backend: that the pins are for.
        source: the `requirements.in`.
        old: the pins so far; uv keeps the versions that still fit.
        arguments: further ones of `uv pip compile`.
        harness: those that name what the harness itself needs; none for the checkout's group.
    """
    from harness.environments.pins import GROUP, compiled

    index, added = wheel_index(backend.torch_backend, os.environ)
    if not backend.torch_backend:
        # PyPI's torch is wanted, and local wheels may be of another one.
        added = {"UV_FIND_LINKS": None}
    excludes = Environment(backend.requirements).excludes
    return compiled(
        lambda command: run(command, added),
        shown(source),
        old,
        harness=harness or GROUP,
        python=backend.python[0] if backend.python else "3.11",
        platforms=backend.platforms,
        cuda=not backend.torch_backend or backend.torch_backend.startswith("cu"),
        options=[*index, *arguments],
        excludes=excludes.read_text(encoding="utf-8") if excludes else "",
    )


def write_pins(
    session: nox.Session,
    backend: BackendFolder,
    arguments: Sequence[str],
    harness: Sequence[str] = (),
) -> None:
    """Write the backend's requirements.txt, starting from the versions that it has.

    Args:
        session: with uv in its environment.
        backend: its folder.
        arguments: further ones of `uv pip compile`.
        harness: those that name what the harness itself needs; none for the checkout's group.
    """
    path = backend.requirements
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    new = compile_pins(
        lambda command, changes: session.run(*command, env=changes),
        backend,
        backend.folder / "requirements.in",
        old,
        arguments,
        harness,
    )
    if new != old:
        path.write_text(new, encoding="utf-8")
    session.log(f"{shown(path)}: {'changed' if new != old else 'as it was'}")
