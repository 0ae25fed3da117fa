"""Environments of sessions: what is installed, from which index, and what their commands see."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import nox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Present in every environment when set by nobody; see `session_environment`.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

#: Tells a run which nox has started it: a killed nox tells nobody, and the run looks for itself.
PARENT = "HARNESS_PARENT"

#: How long an interrupted pytest may take to stop its workers and store what is done, before it is
#: terminated and, after the same time again, killed. Nox's own 0.3 s is too short for that.
STOP_SECONDS = 15.0

#: The file of a backend with packages to leave out, which only uv can.
EXCLUDES = "excludes.txt"

#: The file in an environment that says which pins it was made from.
STAMP = "pins.sha256"


def shown(path: Path) -> str:
    """A path as nox prints it: from the noxfile's folder, where nox runs, if it lies in there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class Environment(NamedTuple):
    """Packages of a session: pins that `nox -s lock` compiled, named packages, or both.

    The packages get the versions that the pins have, where both name one.
    """

    pins: Path | None = None
    packages: tuple[str, ...] = ()
    constraints: Path | None = None
    torch_backend: str = ""
    gpu: bool = True  # the packages of the pins that only CUDA builds of torch want
    distributions: tuple[str, ...] = ()  # copied from nox's own environment

    def requirements(self) -> list[str]:
        """The arguments of the installer that name what to install."""
        arguments = list(self.packages)
        if self.pins:
            arguments += ["-r", shown(self.pins)]
        if self.constraints:
            arguments += ["-c", shown(self.constraints)]
        return arguments

    @property
    def excludes(self) -> Path | None:
        """The file beside the pins that names packages to leave out, though others require them."""
        path = self.pins.with_name(EXCLUDES) if self.pins else None
        return path if path and path.is_file() else None

    def key(self) -> str:
        """A digest that changes with what is to be installed."""
        words = [*self.requirements(), self.torch_backend, *([] if self.gpu else ["no gpu"])]
        if self.distributions:
            from harness.environments import installed_copy

            words += map(installed_copy.fingerprint, self.distributions)
        digest = hashlib.sha256("\0".join(words).encode())
        for path in filter(None, (self.pins, self.constraints, self.excludes)):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()


def wheel_index(
    torch_backend: str, environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str | None]]:
    """Where uv finds torch and local wheels: its arguments, and what to add to its environment.

    A wheel index or wheels that the user has set come before the one that the backend names.
    """
    links = environ.get("PIP_FIND_LINKS", "").split()
    added: dict[str, str | None] = {}
    if links and not environ.get("UV_FIND_LINKS"):
        added["UV_FIND_LINKS"] = ",".join(links)
    chosen = links or environ.get("UV_FIND_LINKS") or environ.get("UV_TORCH_BACKEND")
    return (["--torch-backend", torch_backend] if torch_backend and not chosen else []), added


def install(session: nox.Session, environment: Environment) -> None:
    """Install what the environment wants, unless it was made from the same pins before.

    `nox --no-venv` installs nothing: it is for a machine whose Python has the SDK already.
    """
    if session.venv_backend == "none":
        return
    for path in filter(None, (environment.pins, environment.constraints)):
        if not path.is_file():
            backend = path.parent.name.replace("_", "-")
            session.error(
                f"Expected the pins in {shown(path)}, found no such file. "
                f"Fix: nox -s lock -- {backend}"
            )
    stamp = session.env_dir / STAMP
    key = environment.key()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    index: list[str] = []
    added: dict[str, str | None] = {}
    if session.venv_backend == "uv":
        index, added = wheel_index(environment.torch_backend, os.environ)
        if environment.excludes:
            index += ["--excludes", shown(environment.excludes)]
    elif environment.torch_backend and not os.environ.get("PIP_FIND_LINKS"):
        session.warn(
            "pip installs torch from its default index, which may be several GB of CUDA; uv would "
            f"take the {environment.torch_backend} wheels. Fix: python -m pip install uv"
        )
    with tempfile.TemporaryDirectory() as folder:
        arguments = environment.requirements()
        if environment.pins:
            told = environment.pins.read_text(encoding="utf-8")
            text = with_local_folders(told, environment.pins, Path(folder))
            if not environment.gpu:
                from harness.environments.pins import without_cuda

                text = without_cuda(text)
            if text != told:
                pins = Path(folder, environment.pins.name)
                pins.write_text(text, encoding="utf-8")
                arguments[arguments.index("-r") + 1] = str(pins)
        if environment.distributions:
            from harness.environments import installed_copy

            try:
                for name in environment.distributions:
                    arguments += installed_copy.requirement(name, Path(folder))
            except installed_copy.NotCopied as error:
                session.error(str(error))
        session.install(*index, *arguments, env=added, silent=False)
    # An install command, so that `nox -R`, which installs nothing, leaves no false stamp.
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    session.run_install("python", "-c", write, str(stamp), key, silent=True, log=False)


def with_local_folders(text: str, pins: Path, copies: Path) -> str:
    """Requirements with copies of the folders that lines such as `-e ./backends/x` name.

    Args:
        text: of the requirements.
        pins: the backend's file.
        copies: the folder that the copies are written to.
    """
    if pins.resolve().parents[2] == Path.cwd():
        return text
    from harness.environments.local_folders import LocalFolders

    return LocalFolders(pins, copies, Path.cwd()).copied(text)


def reusable(name: str, environment: Environment) -> bool | None:
    """Whether the session's last environment was made from the same pins; None leaves it to nox."""
    stamp = Path(nox.options.envdir or ".nox", name, STAMP)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == environment.key():
        return True
    return None


def session_environment(environ: Mapping[str, str], folder: Path | None) -> dict[str, str | None]:
    """Environment variables of a session's commands, beside the user's own.

    Args:
        environ: the user's.
        folder: the session's environment, where it has one.
    """
    made: dict[str, str | None] = {
        name: value for name, value in ENVIRONMENT.items() if name not in environ
    }
    clean = environ.get("PYTHONDONTWRITEBYTECODE") and "PYTHONPYCACHEPREFIX" not in environ
    if folder and clean:
        # That asks for a clean tree. Without any bytecode each process would compile torch anew.
        made |= {"PYTHONDONTWRITEBYTECODE": None, "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
    return made


def run(
    session: nox.Session, *command: str, success_codes: Sequence[int] = (0,), **changes: str | None
) -> None:
    """Run a command of the session's environment; an interrupted one gets time to store results.

    Args:
        session: of nox.
        command: a program of the environment, or a path of one, and its arguments.
        success_codes: exit statuses that are no failure of the session.
        changes: environment variables; None unsets one.
    """
    folder = None if session.venv_backend == "none" else session.env_dir.resolve()
    session.run(
        *command,
        env={**session_environment(os.environ, folder), PARENT: str(os.getpid()), **changes},
        external=Path(command[0]).is_absolute(),
        success_codes=success_codes,
        interrupt_timeout=STOP_SECONDS,
        terminate_timeout=STOP_SECONDS,
    )
