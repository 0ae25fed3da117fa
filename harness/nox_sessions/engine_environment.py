"""Environment of the engine that `--cluster` speaks with, apart from those of the backends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nox

from harness.nox_sessions.backend_folder import BackendFolder
from harness.nox_sessions.changed_pins import uv_of
from harness.nox_sessions.environment import STAMP, Environment, shown, wheel_index

#: The option, as pytest takes it too.
OPTION = "--cluster"

#: Environment variable that names the Python with the engine.
VARIABLE = "HARNESS_CLUSTER_PYTHON"

#: The name of the environment, and of its session.
NAME = "cluster"

#: The engine's pins lie in a folder as a backend's do, so that the same code compiles them.
FOLDER = BackendFolder(Path(__file__).resolve().parents[1] / "cluster", "dask.distributed")

#: Settings of the engine's own processes: its profiler looks at every task a hundred times a
#: second, and the task that holds a node lasts as long as a session.
SETTINGS: dict[str, Any] = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}

#: The packages of the engine.
ENGINE = Environment(FOLDER.requirements)


def on_cluster(words: Sequence[str]) -> bool:
    """Whether a command line names a cluster."""
    return any(word.split("=")[0] == OPTION for word in words)


def engine_variables(session: nox.Session) -> dict[str, str | None]:
    """The variable that names the engine's Python, whose environment is made where it is needed.

    Nothing where the session names no cluster, or the user has named a Python.
    """
    if not on_cluster(session.posargs) or os.environ.get(VARIABLE):
        return {}
    if session.venv_backend == "none":
        return {}
    folder = Path(session.env_dir).resolve().with_name(NAME)
    places = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = folder.joinpath(*places)
    stamp = folder / STAMP
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == ENGINE.key()):
        uv = uv_of(session, OPTION)
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        session.run_install(*make, external=True)
        _, added = wheel_index("", os.environ)
        fill = [uv, "pip", "install", "--python", str(python), "-r", shown(FOLDER.requirements)]
        session.run_install(*fill, env=added, external=True)
        stamp.write_text(ENGINE.key(), encoding="utf-8")
    return {VARIABLE: str(python)}
