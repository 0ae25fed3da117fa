"""Session of a backend: its environment, its command, and whether its hardware is here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import nox

from harness.nox_sessions.backend_folder import (
    BackendFolder,
    Machine,
    describe,
    interpreter,
    missing,
)
from harness.nox_sessions.changed_pins import requirements_of, run_changed
from harness.nox_sessions.engine_environment import engine_variables, on_cluster
from harness.nox_sessions.environment import Environment, install, reusable, run

#: Makes the command of a session, from the backend's name and what stands behind `--`.
Command = Callable[[str, Sequence[str]], list[str]]


def checkout_command(name: str, posargs: Sequence[str]) -> list[str]:
    """The command of a backend's session in a checkout.

    Args:
        name: the session's name, which is the backend's.
        posargs: what stands behind `--`; comes last and unchanged.
    """
    # With -c, pytest does not look for its ini file beside a folder such as that of --results.
    ini = ["-c", "pyproject.toml", "-p", "harness.plugin"]
    return ["python", "-m", "pytest", *ini, "--backend", name, *posargs]


def falls_back(words: Sequence[str]) -> bool:
    """Whether a command line asks for a stand-in for missing hardware.

    Nox makes a session's environment before it shows what stands behind `--`.
    """
    return any(word.split("=")[0] == "--fallback" for word in words)


def downloads(words: Sequence[str]) -> bool:
    """Whether what stands behind `--` asks for checkpoints from the hub."""
    joined = " ".join(words).replace("=", " ")
    return "--weights pretrained" in joined


def add_backend(
    backend: BackendFolder,
    machine: Machine,
    words: Sequence[str] = (),
    *,
    command: Command = checkout_command,
    distributions: Sequence[str] = (),
    default: bool = False,
    venv_backend: str | None = None,
) -> None:
    """Register the session of one backend.

    Args:
        backend: its folder.
        machine: what its hardware hint is held against.
        words: the command line.
        command: makes the command of a session from the backend's name and what stands behind `--`.
        distributions: those of nox's environment that the session's environment has as well.
        default: whether a bare `nox` runs it.
        venv_backend: as `nox.session` takes it; None is the noxfile's.
    """
    lack = missing(backend, machine)
    stands_in = lack is not None and lack.replaceable and falls_back(words)
    environment = Environment(
        backend.requirements,
        torch_backend=backend.torch_backend,
        distributions=tuple(distributions),
    )
    if stands_in:
        environment = environment._replace(torch_backend="cpu", gpu=False)
    elsewhere = lack is not None and lack.replaceable and on_cluster(words)
    skips = lack is not None and not (stands_in or elsewhere)

    def run_backend(session: nox.Session) -> None:
        if lack and (skips or ("--require-device" in session.posargs and not elsewhere)):
            message = f"{lack.reason} Fix: {lack.fix}".removesuffix(".")  # nox adds its own
            if "--require-device" in session.posargs:
                session.error(message)
            session.skip(message)
        # Unset, unless the user has set it: only then does the hub's library ask the network.
        online = downloads(session.posargs) and "HF_HUB_OFFLINE" not in os.environ
        changes: dict[str, Any] = {"HF_HUB_OFFLINE": None} if online else {}
        words = command(backend.name, session.posargs)
        if requirements_of(session.posargs):
            run_changed(session, backend, environment, words, **changes)
            return
        install(session, environment)
        changes |= engine_variables(session)
        run(session, *words, **changes)

    run_backend.__doc__ = describe(backend, lack)
    register = nox.session(
        name=backend.name,
        tags=["backend"],
        default=default,
        python=None if skips else interpreter(backend, "{}.{}".format(*sys.version_info)),
        reuse_venv=reusable(backend.name, environment),
        # No environment is made for a session that can only be skipped.
        venv_backend="none" if skips else venv_backend,
    )
    function = register(run_backend)
    # What `nox -t backend -l --json` tells a workflow about the session: where it can run.
    vars(function)["call_spec"] = {"runs_on": backend.runs_on} if backend.runs_on else {}
