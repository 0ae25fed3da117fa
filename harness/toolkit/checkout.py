"""Places on the disk: the checkout or the installed package, and paths as a person types them.

In a checkout, `backends/`, `model_lists/`, results and the cache lie beside `harness/`. The wheel
has `backends/` and `model_lists/` inside of the package, which nobody writes to: results go to the
current folder, and the cache goes to the user's.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

#: The folder of this package: `harness/` in a checkout.
PACKAGE = Path(__file__).resolve().parents[1]

#: Whether this is an installed package.
INSTALLED = (PACKAGE / "model_lists").is_dir()

#: The folder with `backends/` and `model_lists/`: the checkout, or the installed package.
ROOT = PACKAGE if INSTALLED else PACKAGE.parent

#: Ends the name of a commit in a checkout that had changes.
DIRTY = "-dirty"


def results_folder(root: Path = ROOT) -> Path:
    """The folder of results where none is named: `results/` of a checkout, or in the current one.

    Args:
        root: of the checkout.
    """
    return (Path.cwd() if INSTALLED else root) / "results"


def working_folder() -> Path:
    """The folder in which commands are started: the checkout, or the current one when installed.

    Paths of requirements are relative to it, and `python -m harness` is found in it.
    """
    return Path.cwd() if INSTALLED else ROOT


def is_installed(path: Path) -> bool:
    """Whether a file lies where installers put packages, and is nobody's to edit."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return any(path.resolve().is_relative_to(Path(place).resolve()) for place in places)


def own_environment() -> dict[str, str]:
    """The environment variables with which `python -m` finds this package from any folder."""
    if INSTALLED:
        return dict(os.environ)
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *given])}


def shown_path(path: Path) -> str:
    """A path for a message: relative to the working directory where it lies below that."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def git_commit() -> str:
    """The commit of this checkout, with `DIRTY` where it has changes; empty elsewhere."""
    if INSTALLED:
        return ""
    command = ["git", "describe", "--always", f"--dirty={DIRTY}", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
