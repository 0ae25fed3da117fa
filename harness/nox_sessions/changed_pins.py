"""A session with some packages otherwise than its pins have them: `-- --with transformers==5.22.0`.

Its environment lies beside the pinned one, made by uv: the backend's `requirements.in` with these
requirements, and each other pin that still fits. Its results lie apart, and at the end they are
compared with those of the pinned environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import nox

from harness.nox_sessions.backend_folder import OURS, BackendFolder, interpreter
from harness.nox_sessions.environment import (
    STAMP,
    Environment,
    run,
    shown,
    wheel_index,
    with_local_folders,
)
from harness.nox_sessions.pins import compile_pins

#: The option, as pytest takes it too.
OPTION = "--with"

#: The kinds of changes that a comparison shows: what was left out has not changed.
KINDS = "regressed,changed,flaky,new,improved"

#: The package that sessions run.
PACKAGE = __name__.partition(".")[0]


def requirements_of(posargs: Sequence[str]) -> list[str]:
    """The requirements that `--with` names behind `--`, in order."""
    found = [word.partition("=")[2] for word in posargs if word.startswith(f"{OPTION}=")]
    return [*found, *(value for option, value in pairwise(posargs) if option == OPTION)]


def run_changed(
    session: nox.Session,
    backend: BackendFolder,
    environment: Environment,
    command: Sequence[str],
    **changes: str | None,
) -> None:
    """Run a backend's command in an environment with the requirements, and compare the results.

    Args:
        session: of nox; what stands behind `--` has the requirements.
        backend: its folder.
        environment: the pinned one.
        command: of the session, for the pinned environment.
        changes: environment variables of the command; None unsets one.
    """
    from harness.environments import pins

    requirements = requirements_of(session.posargs)
    for requirement in requirements:
        try:
            pins.package_of(requirement)
        except ValueError:
            session.error(
                f"Expected {OPTION} NAME==VERSION, or another requirement, found {requirement!r}. "
                f"Fix: write and quote it as in {OPTION} 'transformers==5.22.0'"
            )
    apart = pins.apart(requirements)
    python = _made(session, backend, environment, requirements, apart)
    mine = _own_results(session.posargs, apart) / f"{backend.name}.duckdb"
    with tempfile.TemporaryDirectory() as before:
        if mine.is_file():
            shutil.copy(mine, before)
        try:
            run(session, str(python), *command[1:], success_codes=(0,), **changes)
        except nox.command.CommandFailed:
            # Without new results, as where the device is missing, it is red whatever lies there.
            words = ["-m", PACKAGE, "ran", before, str(mine.parent)]
            run(session, str(python), *words)
            if not Path("results", mine.name).is_file():
                raise
    _compare(session, backend, python, mine)


def _own_results(posargs: Sequence[str], apart: str) -> Path:
    """The folder of the session's results."""
    given = [word for word in posargs if word.startswith("--results")]
    if not given:
        return Path("results", apart)
    value = given[-1].partition("=")[2]
    return Path(value or posargs[posargs.index(given[-1]) + 1])


def _compare(session: nox.Session, backend: BackendFolder, python: Path, mine: Path) -> None:
    """Compare the results with those of the pinned environment; cells that are worse are red."""
    pinned = Path("results", mine.name)
    words = [PACKAGE, "diff", str(pinned), str(mine), "--only", KINDS]
    if not pinned.is_file() or not mine.is_file():
        missing = mine if pinned.is_file() else pinned
        rest = " ".join(_without_option(session.posargs))
        session.warn(
            f"Expected results in {missing} to compare, found none. "
            f"Fix: nox -s {backend.name} -- {rest}, then python -m {' '.join(words)}"
        )
        return
    run(session, str(python), "-m", *words)


def _without_option(posargs: Sequence[str]) -> list[str]:
    """Words behind `--`, without the requirements."""
    kept, skip = [], False
    for word in posargs:
        if not skip and word != OPTION and not word.startswith(f"{OPTION}="):
            kept.append(word)
        skip = word == OPTION
    return kept


def _made(
    session: nox.Session,
    backend: BackendFolder,
    environment: Environment,
    requirements: Sequence[str],
    apart: str,
) -> Path:
    """The Python of the environment, which is made where what it follows from has changed."""
    from harness.environments import installed_copy, pins

    if session.venv_backend == "none":
        session.error(f"Expected an environment for {OPTION}, found --no-venv. Fix: leave it out")
    for path in (backend.requirements, backend.folder / "requirements.in"):
        if not path.is_file():
            session.error(
                f"Expected {shown(path)}, which {OPTION} starts from, found no such file. "
                f"Fix: write requirements.in, then nox -s lock -- {backend.name}"
            )
    folder = Path(session.env_dir).resolve().with_name(f"{backend.name}-{apart}")
    places = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = folder.joinpath(*places)
    old = backend.requirements.read_text(encoding="utf-8")
    asked = (backend.folder / "requirements.in").read_text(encoding="utf-8")
    for requirement in requirements:
        asked = pins.with_requirement(asked, requirement)
        old = pins.without(old, pins.package_of(requirement))
    key = hashlib.sha256(f"{asked}\0{old}\0{environment.key()}".encode()).hexdigest()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        session.log(f"Reusing the environment {shown(folder)}")
        return python
    uv = uv_of(session, OPTION)
    chosen = interpreter(backend, "{}.{}".format(*sys.version_info)) or sys.executable
    session.run_install(
        *(uv, "venv", "--quiet", "--clear", "--python", chosen, str(folder)), external=True
    )
    with tempfile.TemporaryDirectory() as temporary:
        text = _compiled(session, backend, uv, asked, old, Path(temporary))
        made = folder / "requirements.txt"
        made.write_text(text, encoding="utf-8")
        here = Path(temporary, "requirements.txt")
        here.write_text(with_local_folders(text, backend.requirements, Path(temporary)), "utf-8")
        arguments = ["-r", str(here)]
        for name in environment.distributions:
            arguments += installed_copy.requirement(name, Path(temporary))
        index, added = wheel_index(environment.torch_backend, os.environ)
        if environment.excludes:
            index += ["--excludes", shown(environment.excludes)]
        command = [uv, "pip", "install", "--python", str(python), *index, *arguments]
        session.run_install(*command, env=added, external=True)
    stamp.write_text(key, encoding="utf-8")
    return python


def _compiled(
    session: nox.Session,
    backend: BackendFolder,
    uv: str,
    asked: str,
    old: str,
    folder: Path,
) -> str:
    """The pins that uv compiles from the text of a `requirements.in`."""
    from harness.environments import pins

    source = folder / f"{backend.name}.in"
    source.write_text(with_local_folders(asked, backend.requirements, folder), encoding="utf-8")
    harness: list[str] = []
    if PACKAGE != "harness":
        own = folder / "harness.in"
        own.write_text(pins.own_requirements(OURS), encoding="utf-8")
        harness = [str(own)]
    return compile_pins(_runner(session, uv), backend, source, old, harness=harness)


def _runner(
    session: nox.Session, uv: str
) -> Callable[[Sequence[str], Mapping[str, str | None]], object]:
    return lambda command, changes: session.run_install(
        uv, *command[1:], env=changes, external=True
    )


def uv_of(session: nox.Session, option: str) -> str:
    """The path of uv: on PATH, or beside nox; leaves the session where there is none.

    Args:
        session: of nox.
        option: of the session that wants an environment.
    """
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        session.error(
            f"Expected uv, which makes the environment of {option}, found none. "
            "Fix: python -m pip install 'nox[uv]'"
        )
    return str(found)
