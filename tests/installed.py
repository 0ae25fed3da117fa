"""The wheel, built once a process, and environments with nothing but what it asks for."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from harness.toolkit.typed_commands import STARTED_BY_NOX

ROOT = Path(__file__).resolve().parent.parent

#: Kept until the process ends.
_folder = tempfile.TemporaryDirectory(prefix="harness-wheel-")


@functools.cache
def wheel() -> Path:
    """The wheel of this checkout, as `python -m build` makes it."""
    folder = Path(_folder.name, "dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment that knows nothing of the checkout."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def python(self) -> str:
        return str(self.scripts / "python")

    def install(self, *arguments: str) -> None:
        """Install with uv, at the pins of the mock backend."""
        pins = ROOT / "backends" / "mock" / "requirements.txt"
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", self.python]
        subprocess.run([*command, "-c", str(pins), *arguments], check=True, env=environment())

    def run(self, *command: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment; output and errors together."""
        return subprocess.run(
            [self.python, *command],
            cwd=folder,
            env={**environment(), **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def harness(
        self, *words: str, folder: Path, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the harness."""
        return self.run("-m", "hf_hardware_matrix", *words, folder=folder, **changes)


def environment() -> dict[str, str]:
    """This process's variables, without those that lead to the checkout or its nox."""
    dropped = {"PYTHONPATH", "HARNESS_BACKEND", "HARNESS_CACHE", "PYTEST_ADDOPTS", "VIRTUAL_ENV"}
    dropped.add(STARTED_BY_NOX)
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "COLUMNS": "160", "PY_COLORS": "0"}


def installation(folder: Path, more: Sequence[str] = ()) -> Installation:
    """A new environment with the wheel, and further packages."""
    command = [uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(folder)]
    subprocess.run(command, check=True)
    made = Installation(folder)
    made.install(str(wheel()), *more)
    return made
