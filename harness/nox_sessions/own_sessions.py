"""Sessions for a noxfile of one's own: on backends and model lists from anywhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import nox

from harness.nox_sessions.backend_folder import (
    OURS,
    BackendFolder,
    Machine,
    find_backends,
    named_backends,
)
from harness.nox_sessions.backend_session import Command, add_backend
from harness.nox_sessions.environment import Environment, install, reusable, run, shown
from harness.nox_sessions.pins import select, write_pins

#: The installed package, and its folder.
PACKAGE, FOLDER = __name__.partition(".")[0], Path(__file__).resolve().parents[1]

#: How an environment is made: nox takes the first that is there.
VENV_BACKEND = "uv|virtualenv"


def add_sessions(backends: str | Sequence[str] = (), *, lists: str = "") -> None:
    """Add a session for each backend, and `measure`, `report` and `lock`, to a noxfile.

        from hf_hardware_matrix.nox_sessions import add_sessions
        add_sessions(backends="backends", lists="+models.toml")

    Each has an environment of its own, with the backend's pins and the package that nox itself
    runs with. What stands behind `--` goes to the session's pytest, unchanged.

    Args:
        backends: folders of backends, from the noxfile's folder, and names of backends that are
            installed beside nox: this project's, or those of other distributions by their entry
            points. Nothing names all that are installed.
        lists: the model lists, as `--lists` takes them; nothing for this project's.

    Raises:
        SystemExit: a folder or a name is wrong; the message says how to mend it.
    """
    if not (FOLDER / "model_lists").is_dir():
        sys.exit(
            f"{FOLDER}: expected an installed package, found a checkout. "
            "Fix: python -m pip install it beside nox"
        )
    chosen = _chosen([backends] if isinstance(backends, str) else list(backends))
    for backend, folder in chosen:
        add_backend(
            backend,
            Machine.here(),
            sys.argv,
            command=_command(folder, lists),
            distributions=list(filter(None, [OURS, backend.distribution])),
            default=bool(folder),
            venv_backend=VENV_BACKEND,
        )
    _add_measure([backend for backend, _ in chosen])
    _add_report(lists)
    _add_lock([backend for backend, _ in chosen if backend.folder.is_relative_to(Path.cwd())])


def _chosen(names: Sequence[str]) -> list[tuple[BackendFolder, str]]:
    """The backends that are named, each with the folder that was named for it, else nothing."""
    installed = {b.name: b for b in [*find_backends(FOLDER / "backends"), *named_backends()]}
    if not names:
        return [(backend, "") for backend in installed.values()]
    found: dict[str, tuple[BackendFolder, str]] = {}
    for name in names:
        inside = find_backends(Path(name).resolve()) if Path(name).is_dir() else []
        if not inside and name.replace("_", "-") not in installed:
            sys.exit(
                f"add_sessions: expected a folder of backends, each a folder with a backend.toml, "
                f"or one of {', '.join(installed)}; found {name!r}. Fix: correct it"
            )
        for backend in inside or [installed[name.replace("_", "-")]]:
            found[backend.name] = (backend, name if inside else "")
    return list(found.values())


def _command(folder: str, lists: str) -> Command:
    """The command of a backend's session.

    Args:
        folder: of backends; nothing where the backend is installed.
        lists: as `--lists` takes them.
    """
    options = [f"--backends-dir={folder}"] if folder else []
    options += [f"--lists={lists}"] if lists else []
    return lambda name, posargs: ["python", "-m", PACKAGE, "run", name, *options, *posargs]


def _add_measure(backends: Sequence[BackendFolder]) -> None:
    @nox.session(default=False, venv_backend="none")
    def measure(session: nox.Session) -> None:
        """Speed and memory on one backend, a cell at a time: -- BACKEND [its options]."""
        named, arguments = select(session.posargs, backends)
        if len(named) != 1:
            session.error(
                f"Expected one backend behind --, found {' '.join(session.posargs) or 'nothing'}. "
                "Fix: nox -l shows the backends"
            )
        session.notify(named[0].name, ["--measure", *arguments])


def _add_report(lists: str) -> None:
    environment = Environment(
        constraints=FOLDER / "backends" / "mock" / "requirements.txt",
        distributions=(OURS,),
    )
    options = [f"--lists={lists}"] if lists else []

    @nox.session(
        default=False, reuse_venv=reusable("report", environment), venv_backend=VENV_BACKEND
    )
    def report(session: nox.Session) -> None:
        """results/report.html and .md from the results of all sessions."""
        install(session, environment)
        run(session, "python", "-m", PACKAGE, "report", *options, *session.posargs)


def _add_lock(backends: Sequence[BackendFolder]) -> None:
    environment = Environment(packages=("uv",))

    @nox.session(default=False, reuse_venv=True, venv_backend=VENV_BACKEND)
    def lock(session: nox.Session) -> None:
        """Compile the backends' pins; -- NAME... for some, -- --upgrade for newer ones."""
        from harness.environments.pins import own_requirements

        install(session, environment)
        named, arguments = select(session.posargs, backends)
        needed = Path(session.create_tmp(), f"{OURS}.in")
        needed.write_text(own_requirements(OURS), encoding="utf-8")
        for backend in named:
            write_pins(session, backend, arguments, [shown(needed.resolve())])
